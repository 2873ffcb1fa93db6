"""Placements that a plan takes in later: rows for samples that it has, from what it knows of them.

No file is opened: size, clip and the newest annotations are the plan's own. Rows that are there
keep key, shard and row.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket, SourceRef
from latentcache.plan.clips import Clip
from latentcache.plan.growth.planned_samples import TOUCHED
from latentcache.plan.listing import Annotation, ListedMedia
from latentcache.plan.placement.classes import LABEL, LABEL_NAME
from latentcache.plan.placement.scanned import ScannedMedia
from latentcache.plan.plan_options import PlanOptions, automatic_step
from latentcache.store import Annotation as StoredAnnotation
from latentcache.store import Generation, Store
from latentcache.store.format import indices, numbers
from latentcache.store.rows import iter_beside, iter_rows
from latentcache.store.snapshots import PlanView

PLACEMENT_OPTIONS = ("resolution_px", "crops", "flip")
"""Options that an update may add to."""

_COLUMNS = (
    *("path", "member", "offset_bytes", "size_bytes", "version", "bucket", "shard", "row"),
    *("source_width_px", "source_height_px", "start_s", "frame_rate_fps", "is_animated"),
)
_MEMBER_BYTES = 65_536
"""Of a tar, about: members that lie together stay together."""

_Sample = tuple[str, str, float | None]


def grown_placements(
    planned: Mapping[str, Any], asked: PlanOptions, names: Collection[str]
) -> dict[str, Any]:
    """Return the placement options of an update: what is planned, and what is asked for beside.

    Args:
        planned: Options of the plan, as it records them.
        asked: Of the update.
        names: Those that somebody gave; the plan's stand for the others.

    Raises:
        ConfigError: It asks for less than is planned.
    """
    before = planned_placements(planned)
    told = {name: getattr(asked, name) for name in PLACEMENT_OPTIONS if name in names}
    now = PlanOptions(**{**before, "step_px": 1, **told})
    old = PlanOptions(**{**before, "step_px": 1})
    lacking = sorted({*old.placements} - {*now.placements})
    if lacking:
        raise ConfigError(
            f"an update must keep the placements of the store's plan ({_told(old)}), got "
            f"{_told(now)}, without {lacking[0].label}; give those and what is to be added, or "
            "build into another store"
        )
    kept = old.resolutions_px
    resolutions = (*kept, *(each for each in now.resolutions_px if each not in kept))
    found: dict[str, Any] = {"crops": now.crops, "flip": now.flip, "step_px": before["step_px"]}
    found["resolution_px"] = resolutions if len(resolutions) > 1 else resolutions[0]
    if len(kept) == 1 < len(resolutions) and before["step_px"] == automatic_step(kept[0]):
        # A step that nobody gave follows each resolution.
        found["step_px"] = asked.step_px if "step_px" in names else 0
    return found


def planned_placements(planned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the placement options, and the step, that a plan records."""
    resolution = planned.get("resolution_px", PlanOptions().resolution_px)
    return {
        "resolution_px": tuple(resolution) if isinstance(resolution, list) else resolution,
        "crops": planned.get("crops", 1),
        "flip": planned.get("flip", ""),
        "step_px": planned.get("step_px", 0),
    }


def _told(options: PlanOptions) -> str:
    sides = ",".join(map(str, options.resolutions_px))
    flip = f" --flip {options.flip}" if options.flip else ""
    return f"--resolution {sides} --crops {options.crops}{flip}"


class PlacedBefore:
    """The live samples of a plan as a scan would give them; the annotations are the newest."""

    def __init__(self, store: Store, generations: Sequence[Generation]) -> None:
        """Read what was retired.

        Args:
            store: That holds the plan.
            generations: Of it, oldest first.
        """
        self._store, self._generations = store, generations
        self._view = PlanView.read(store.folder, generations)
        self._names = sorted(store.annotation_names())
        self._has_several = any(each.num_placements > 1 for each in generations)
        self._given: defaultdict[str, set[_Sample]] = defaultdict(set)
        self._touched = {
            path: version
            for generation in generations
            for table in iter_beside(store.folder, generation)
            for path, kind, version in zip(
                *(table[name].to_pylist() for name in ("path", "kind", "version")), strict=True
            )
            if kind == TOUCHED
        }

    def __iter__(self) -> Iterator[list[ScannedMedia]]:
        """Yield each live sample once, a row group at a time."""
        seen: set[bytes] = set()
        for generation in self._generations:
            opened = {name: self._store.annotation(generation, name) for name in self._names}
            known = {name: each for name, each in opened.items() if each is not None}
            for table in iter_rows(self._store.folder, generation, _COLUMNS):
                places = numbers(table["shard"]), numbers(table["row"])
                live = table.filter(pa.array(self._view.are_live(*places)))
                if self._has_several:
                    samples = [_digest(each) for each in _samples(live)]
                    first = [at for at, each in enumerate(samples) if _is_new(each, seen)]
                    live = live.take(pa.array(first, pa.int64()))
                if len(live):
                    yield self._media(live, known)

    def given_of(self, tables: Iterable[pa.Table]) -> dict[str, npt.NDArray[np.bool_]]:
        """Return which annotations of rows ``annotate`` gave to their samples; after iterating.

        Args:
            tables: Rows of the new generation, in order.
        """
        rows = [each for table in tables for each in _samples(table)] if self._given else []
        return {
            name: np.array([each in given for each in rows], bool)
            for name, given in self._given.items()
        }

    def _media(self, table: pa.Table, known: Mapping[str, StoredAnnotation]) -> list[ScannedMedia]:
        shards = numbers(table["shard"]).astype(np.int64)
        rows = numbers(table["row"]).astype(np.int64)
        values = {name: each.take(shards, rows).to_pylist() for name, each in known.items()}
        for name, each in known.items():
            given = np.flatnonzero(each.is_given(shards, rows))
            if len(given):
                self._given[name].update(_samples(table.take(indices(given))))
        found = []
        for at, row in enumerate(table.to_pylist()):
            fields = {name: of[at] for name, of in values.items() if of[at] is not None}
            found.append(self._one(row, fields))
        return found

    def _one(self, row: Mapping[str, Any], fields: dict[str, Annotation]) -> ScannedMedia:
        name = fields.pop(LABEL_NAME, None)
        if name is not None:
            fields[LABEL] = name
        clip = None
        if row["start_s"] is not None:
            clip = Clip(
                start_s=row["start_s"],
                num_frames=Bucket.parse(row["bucket"]).num_frames,
                frame_rate_fps=row["frame_rate_fps"],
            )
        offset = row["offset_bytes"]
        listed = ListedMedia(
            source=SourceRef(
                path=row["path"],
                member=row["member"],
                offset_bytes=offset,
                size_bytes=row["size_bytes"],
            ),
            version=row["version"] if row["member"] else self._version(row),
            annotations=fields,
            position=_position(row["member"], offset),
            is_member=bool(row["member"]),
            window=clip.window if clip else "",
        )
        return ScannedMedia(
            listed=listed,
            width_px=row["source_width_px"],
            height_px=row["source_height_px"],
            is_animated=row["is_animated"],
            clip=clip,
        )

    def _version(self, row: Mapping[str, Any]) -> str:
        """Return a file's version as it was seen last."""
        return str(self._touched.get(row["path"], row["version"]))


def _samples(table: pa.Table) -> list[_Sample]:
    """Return what tells the sample of each row from others."""
    columns = (table[name].to_pylist() for name in ("path", "member", "start_s"))
    return list(zip(*columns, strict=True))


def _digest(sample: _Sample) -> bytes:
    # Not hash(): of a hundred million samples two might share 64 bits, and one would be dropped.
    return blake2b(repr(sample).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_new(sample: bytes, seen: set[bytes]) -> bool:
    if sample in seen:
        return False
    seen.add(sample)
    return True


def _position(member: str, offset_bytes: int) -> int:
    """Return about which member of its tar, or row of its table, a sample is; 0 of a file."""
    if offset_bytes >= 0:
        return offset_bytes // _MEMBER_BYTES
    number = member.partition("@")[0]
    return int(number) if number.isdecimal() else 0
