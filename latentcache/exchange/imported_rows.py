"""A cache matched with a plan that is there: which of its samples each planned row is.

Names are compared without their endings, relative to the corpus; what the cache tells of size and
crop must be what the plan has, else its latents are of other pixels than the other columns see.
"""

import posixpath
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.core.rejects import RETIRED_ROW, Reject, RejectCode
from latentcache.core.units import UnitRange
from latentcache.exchange.imported_encoding import ImportRequest
from latentcache.exchange.layouts.foreign import ForeignSample, by_stem
from latentcache.store import EncodingRecord, Store
from latentcache.store.rows import iter_rows
from latentcache.store.snapshots import PlanView

ByRow = Callable[[UnitRange], list[ForeignSample | Reject]]

MAX_LACKING_SHARE = 0.05
"""More live rows without latents than this, and the cache is hardly of this plan."""

_FIELDS = ("path", "member", "start_s", "crop_left_px", "crop_top_px", "row")
_LACKING = Reject(
    code=RejectCode.UNREADABLE.word,
    stage="decode",
    reason="the imported cache has nothing of it",
)
_OTHER_SHAPE = Reject(
    code=RejectCode.SIZE_MISMATCH.word,
    stage="decode",
    reason="the imported cache has latents of another size or crop of it",
)


def planned_pictures(store: Store) -> dict[str, str]:
    """Return the sources of a plan by path without ending; those that share one are left out."""
    tables = (
        table
        for generation in store.generations()
        for table in iter_rows(store.folder, generation, ["path", "member"])
    )
    return by_stem(row["member"] or row["path"] for table in tables for row in table.to_pylist())


class MatchedCache:
    """Gives each row of a plan its sample of a cache.

    Attributes:
        sentences: What was found, for a person.
    """

    def __init__(
        self,
        store: Store,
        record: EncodingRecord,
        request: ImportRequest,
        samples: Sequence[ForeignSample],
        planned: Mapping[str, str],
    ) -> None:
        """Match the whole plan.

        Args:
            store: With a plan of its own.
            record: The encoding that the cache becomes.
            request: What was said of it.
            samples: Of the cache.
            planned: Sources of the plan, as ``planned_pictures`` gives them.

        Raises:
            ConfigError: The column is served by another encoding, or too few rows have latents.
        """
        self._store, self._request = store, request
        self._plan = PlanView.read(store.folder, store.generations())
        self._by_stem, self._pictures = _by_stem(samples), planned
        self._counts: Counter[str] = Counter()
        _check_free(store, record)
        for unit in store.units(record):
            self._count(self.by_row(unit))
        self._check(len(samples))

    @property
    def sentences(self) -> list[str]:
        """What was matched, and what was not."""
        told = [f"{self._counts['matched']:,} of {self._num_live:,} live samples have latents"]
        if lacking := self._counts[_LACKING.code]:
            told.append(f"{lacking:,} are not in the cache")
        if other := self._counts[_OTHER_SHAPE.code]:
            told.append(f"{other:,} are of another size or crop there")
        told.append("whether the others are of the same crop only the cache's maker knows"
                    if not self._tells_crops else "crops were compared")  # fmt: skip
        return told

    def by_row(self, unit: UnitRange) -> list[ForeignSample | Reject]:
        """Return the sample of each row, or why it has none."""
        retired = set(self._plan.retired_rows(unit).tolist())
        rows: list[dict[str, Any]] = self._store.read_rows(unit, list(_FIELDS)).to_pylist()
        return [RETIRED_ROW if row["row"] in retired else self._matched(unit, row) for row in rows]

    def _matched(self, unit: UnitRange, row: Mapping[str, Any]) -> ForeignSample | Reject:
        stem = _stem(row["member"] or row["path"])
        sample = self._by_stem.get(stem)
        if sample is None or stem not in self._pictures:  # of two that share a name it is neither's
            return _LACKING
        told, planned = sample.crop_px, (row["crop_left_px"], row["crop_top_px"])
        if self._request.bucket(sample) != unit.bucket or (told is not None and told != planned):
            return _OTHER_SHAPE
        if row["start_s"] not in (None, 0.0):
            return _OTHER_SHAPE  # a later stretch of a video than the cache's only one
        return sample

    @property
    def _num_live(self) -> int:
        return self._counts.total() - self._counts[RETIRED_ROW.code]

    @property
    def _tells_crops(self) -> bool:
        return all(sample.crop_px is not None for sample in self._by_stem.values())

    def _count(self, rows: Sequence[ForeignSample | Reject]) -> None:
        for each in rows:
            self._counts["matched" if isinstance(each, ForeignSample) else each.code] += 1

    def _check(self, num_samples: int) -> None:
        lacking = self._num_live - self._counts["matched"]
        is_too_much = lacking > MAX_LACKING_SHARE * self._num_live
        if not self._counts["matched"] or (is_too_much and self._request.is_checked):
            names = ", ".join(list(self._by_stem)[:3])
            raise ConfigError(
                f"a cache must have latents of {1 - MAX_LACKING_SHARE:.0%} of the planned samples, "
                f"got {'; '.join(self.sentences)} ({num_samples:,} in the cache, e.g. {names}); "
                "import it into a store of its own, or say --unchecked"
            )


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]


def _by_stem(samples: Sequence[ForeignSample]) -> dict[str, ForeignSample]:
    return {
        _stem(sample.name) if sample.is_picture_known else sample.name: sample for sample in samples
    }


def _check_free(store: Store, record: EncodingRecord) -> None:
    """Refuse to serve a cache in the place of something else.

    Raises:
        ConfigError: The column is served by another encoding.
    """
    view = store.snapshot().columns.get(record.column) if store.snapshots() else None
    if view is not None and view.record.fingerprint != record.fingerprint:
        served = view.record.spec.get("source") or view.record.spec.get("name")
        raise ConfigError(
            f"column {record.column} must not be served by something else, got {served}; give the "
            "cache another name with --column"
        )
