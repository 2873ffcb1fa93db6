"""Importing: another trainer's cache becomes a store, its latents bit for bit as they are.

A first pass learns names and shapes and makes the plan; a second one loads and commits unit by
unit, so that it goes on where it was stopped. Nothing is scaled or unscaled: what maps stored
values to the model's space is the normalizer, which is empty where the cache holds scaled ones.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from latentcache.core.errors import ConfigError, StoreError
from latentcache.core.media import Bucket, SourceRef, sample_key
from latentcache.core.rejects import Reject, RejectCode
from latentcache.core.units import BucketRun, UnitRange
from latentcache.exchange.copying import Progress
from latentcache.exchange.imported_encoding import (
    ImportRequest,
    checked_values,
    imported_record,
    num_channels,
)
from latentcache.exchange.imported_rows import ByRow, MatchedCache, planned_pictures
from latentcache.exchange.imported_units import UnitImport, first_statistics
from latentcache.exchange.layouts.foreign import (
    ForeignSample,
    Found,
    Reading,
    Unopened,
    Unreadable,
)
from latentcache.exchange.layouts.known_layouts import LAYOUTS
from latentcache.exchange.side_by_side import LEAST_ITEMS, side_by_side
from latentcache.stats import merge_arrays
from latentcache.storage import Folder
from latentcache.store import (
    ColumnChange,
    Generation,
    GenerationDraft,
    Store,
)
from latentcache.store.format import STORE_NAME
from latentcache.store.rows import PLAN_SCHEMA, REJECTS_SCHEMA

IMPORTED = "imported"
_ROWS_PER_TABLE = 8192
_DUPLICATE = "another file of the cache has the same name"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What became of a cache.

    Attributes:
        num_samples: Planned and written; of a column, rows of the plan.
        num_refused: Files that gave no sample, by reason code; they are in quarantine.
        left_out: What is none of the latents, counted by what it is.
        unnamed: Samples whose picture the cache does not name.
        example: A file that was refused, and why; "" without.
        said: What was found out about the values.
        snapshot: That serves them.
    """

    num_samples: int
    num_refused: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    unnamed: int = 0
    example: str = ""
    said: tuple[str, ...] = ()
    snapshot: int = 0


def import_cache(
    cache_url: str | Path, store_url: str | Path, request: ImportRequest, *, on_progress: Progress
) -> ImportResult:
    """Make a store of another trainer's cache, or a column of one that is planned.

    What it finds begun it finishes.

    Args:
        cache_url: The cache's folder.
        store_url: An empty place, one where the same import was begun, or a store whose plan has
            the pictures that the cache was made of.
        request: What the cache is, and what it cannot tell.
        on_progress: Told of samples.

    Raises:
        ConfigError: Something that the cache cannot tell is not given, or does not fit it.
        StoreError: There is another store's import.
    """
    root = Folder.open(cache_url)
    planned = _planned_store(store_url, request.told_to_store(root.label))
    in_plan = planned_pictures(planned) if planned is not None else {}
    pictures = request.picture_names() or in_plan
    reading = Reading(root=root, pictures=pictures, asked=request.told)
    found = _Found(reading, request)
    found.check()
    wanted = imported_record(request, found.samples[0], reading.normalizer)
    # Before anything is written.
    said = list(checked_values(wanted, request, first_statistics(wanted, request, found.samples)))
    if planned is None:
        store = Store.open_or_create(store_url)
        found.planned(store)
        by_row: ByRow = found.by_row
    else:
        store = planned
        matched = MatchedCache(store, wanted, request, found.samples, in_plan)
        by_row = matched.by_row
        said += matched.sentences
    record = store.write_encoding(wanted)
    num_samples = UnitImport(store, record, by_row).run(on_progress)
    snapshot = store.publish([ColumnChange(record=record, merge_statistics=merge_arrays)])
    return ImportResult(
        num_samples=num_samples,
        num_refused=dict(Counter(code for _, code, _ in found.refused)),
        left_out={name: count for name, count in reading.left_out.items() if count},
        unnamed=sum(not each.is_picture_known for each in found.samples),
        example=f"{found.refused[0][0]}: {found.refused[0][2]}" if found.refused else "",
        said=tuple(said),
        snapshot=snapshot.number,
    )


def _looked_into(found: list[Found]) -> Iterator[ForeignSample | Unreadable]:
    """Yield what a reader found, in its order, with what it had not opened yet looked into."""
    unopened = [each for each in found if isinstance(each, Unopened)]
    seen = side_by_side(
        lambda number: unopened[number].look(),
        len(unopened),
        is_worth_it=len(unopened) >= LEAST_ITEMS,
        chunk=64,
    )
    for each in found:
        yield each.as_seen(next(seen)) if isinstance(each, Unopened) else each


def _planned_store(url: str | Path, told: Mapping[str, Any]) -> Store | None:
    """Return the store at ``url`` if it has a plan that this import has not made, else None."""
    if Folder.open(url).stat(STORE_NAME) is None:
        return None
    store = Store.open(url)
    generations = store.generations()
    is_ours = bool(generations) and generations[0].totals.get(IMPORTED) == told
    return store if generations and not is_ours else None


class _Found:
    """What the first pass found: samples by place, and files that give none."""

    def __init__(self, reading: Reading, request: ImportRequest) -> None:
        self._reading, self._request = reading, request
        self.samples: list[ForeignSample] = []
        self.refused: list[tuple[str, str, str]] = []
        seen: set[str] = set()
        for each in _looked_into(list(LAYOUTS[request.layout].read(reading))):
            if isinstance(each, Unreadable):
                self.refused.append((each.name, RejectCode.CORRUPT.word, each.reason))
            elif each.name in seen:
                self.refused.append((each.name, RejectCode.DUPLICATE.word, _DUPLICATE))
            else:
                seen.add(each.name)
                self.samples.append(each)
        # As a plan places files: by a hash, what lies together in one file together.
        self.samples.sort(key=self._place)
        self._runs = tuple(self._iter_runs())

    def _place(self, sample: ForeignSample) -> tuple[Bucket, bytes, str]:
        run = sample.run or sample.name
        digest = hashlib.blake2b(run.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return self._request.bucket(sample), digest, sample.name

    def check(self) -> None:
        """Refuse a cache that is another layout, or of several encoders.

        Raises:
            ConfigError: It is.
        """
        if not self.samples:
            why = f" (e.g. {self.refused[0][2]})" if self.refused else ""
            raise ConfigError(
                f"cache must hold samples of {self._request.layout} "
                f"({LAYOUTS[self._request.layout].title}), got none and {len(self.refused)} files "
                f"that give none{why}; check the path and the layout"
            )
        kinds: dict[tuple[int, int, torch.dtype], str] = {}
        for each in self.samples:
            kinds.setdefault((each.shape[0], len(each.shape), each.dtype), each.name)
        if len(kinds) > 1:
            told = "; ".join(
                f"{name} {channels} channels, {axes} axes, {str(dtype).removeprefix('torch.')}"
                for (channels, axes, dtype), name in list(kinds.items())[:3]
            )
            raise ConfigError(
                f"latents of a cache must be of one encoder, got {told}; import them from folders "
                "of their own"
            )
        num_channels(self._request, self.samples[0])

    def _iter_runs(self) -> Iterator[BucketRun]:
        first = 0
        for bucket, each in groupby(self.samples, self._request.bucket):
            group = list(each)
            run = BucketRun(
                bucket=bucket,
                first_shard=first,
                num_rows=len(group),
                rows_per_shard=self._request.rows_per_shard(group[0]),
            )
            first += run.num_shards
            yield run

    def by_row(self, unit: UnitRange) -> list[ForeignSample | Reject]:
        """Return the samples of a unit, in row order."""
        start = 0
        for run in self._runs:
            at = unit.unit.shard - run.first_shard
            if 0 <= at < run.num_shards:
                first = start + at * run.rows_per_shard + unit.first_row
                return list(self.samples[first : first + unit.num_rows])
            start += run.num_rows
        raise AssertionError(f"{unit.unit} is not of this plan")

    def planned(self, store: Store) -> Generation:
        """Return the plan of the store, written unless it is there."""
        told = self._request.told_to_store(self._reading.root.label)
        there = store.generations()
        if there:
            known = there[0].totals.get(IMPORTED)
            if known != told or len(there) > 1 or there[0].num_rows != len(self.samples):
                raise StoreError(
                    f"store must be empty or of the same import, got {known or 'a plan of its own'}"
                    f" with {there[0].num_rows:,} samples where {told} has {len(self.samples):,} "
                    f"({store.folder.label}); import into another place"
                )
            return there[0]
        draft = GenerationDraft(
            corpus_url=self._request.corpus or self._reading.root.url,
            corpus_kind="folder",
            options={IMPORTED: told},
            seed=0,
            runs=self._runs,
            rows=self._rows(),
            rejects=self._rejects(),
            annotations=dict(self._annotations()),
            totals={IMPORTED: told, "listed": len(self.samples) + len(self.refused)},
        )
        return store.write_generation(draft)

    def _placed(self) -> Iterator[tuple[int, int, Bucket, ForeignSample]]:
        samples = iter(self.samples)
        for run in self._runs:
            for number in range(run.num_rows):
                shard, row = divmod(number, run.rows_per_shard)
                yield run.first_shard + shard, row, run.bucket, next(samples)

    def _rows(self) -> Iterator[pa.Table]:
        rows: list[dict[str, Any]] = []
        for shard, row, bucket, sample in self._placed():
            rows.append(_plan_row(shard, row, bucket, sample))
            if len(rows) == _ROWS_PER_TABLE:
                yield pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)
                rows = []
        if rows:
            yield pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)

    def _rejects(self) -> Iterator[pa.Table]:
        if self.refused:
            rows = [
                {
                    "key": sample_key(SourceRef(path=name, member=code)),
                    "path": name,
                    "member": "",
                    "size_bytes": -1,
                    "version": "",
                    "code": code,
                    "stage": "scan",
                    "reason": reason,
                    "is_transient": False,
                    "trace_digest": "",
                }
                for name, code, reason in self.refused
            ]
            yield pa.Table.from_pylist(rows, schema=REJECTS_SCHEMA)

    def _annotations(self) -> Iterator[tuple[str, list[pa.Table]]]:
        kinds = (("caption", pa.string()), ("label", pa.int64()))
        for name, kind in kinds:
            told = [
                (shard, row, getattr(sample, name))
                for shard, row, _, sample in self._placed()
                if getattr(sample, name) is not None
            ]
            if told:
                shards, rows, values = zip(*told, strict=True)
                columns: dict[str, Any] = {
                    "shard": pa.array(shards, pa.int32()),
                    "row": pa.array(rows, pa.int32()),
                    "value": pa.array(values, kind),
                }
                yield name, [pa.table(columns)]


def _plan_row(shard: int, row: int, bucket: Bucket, sample: ForeignSample) -> dict[str, Any]:
    """Return what the cache tells of a sample as a row of the plan; the rest as if uncropped."""
    width, height = sample.source_size_px or (bucket.width_px, bucket.height_px)
    left, top = sample.crop_px or (0, 0)
    is_clip = bucket.num_frames > 1
    rate = sample.frame_rate_fps if is_clip else None
    return {
        "key": sample_key(SourceRef(path=sample.name)),
        "shard": shard,
        "row": row,
        "bucket": str(bucket),
        "path": sample.name,
        "member": "",
        "offset_bytes": -1,
        "size_bytes": -1,
        "version": "",
        "source_width_px": width,
        "source_height_px": height,
        "resized_width_px": bucket.width_px,
        "resized_height_px": bucket.height_px,
        "crop_left_px": left,
        "crop_top_px": top,
        "start_s": 0.0 if is_clip else None,
        "end_s": bucket.num_frames / rate if rate else None,
        "frame_rate_fps": rate,
        "is_animated": False,
    }
