"""Which rows of a generation a source selects: filters and splits, resolved to bitmaps.

What the plan or an annotation says never changes under its digest, so a selection that was
made once is kept in the cache folder, if there is one, and a run that starts again reads
12 bytes for each 100 rows instead of the plan.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from latentcache.core.errors import ConfigError, ShardCorruptError
from latentcache.core.fingerprint import fingerprint
from latentcache.core.seeds import keyed_digests
from latentcache.core.units import BucketRun
from latentcache.loader.cache.shard_cache import ShardCache
from latentcache.loader.order.feistel import Indices
from latentcache.loader.select.bitmap import BitmapWriter, Flags, RowBitmap
from latentcache.loader.select.bucket_names import with_bucket_names
from latentcache.loader.select.filters import Filter, parse_filter
from latentcache.loader.select.source import Source
from latentcache.store import Generation, Snapshot
from latentcache.store.format import indices
from latentcache.store.rows import PLACED_PLAN_SCHEMA, PLAN_SCHEMA, iter_rows

_MEDIUM_FIELDS = ("path", "member")
PAIRS = {
    "original_size": ("source_height_px", "source_width_px"),
    "resized_size": ("resized_height_px", "resized_width_px"),
    "crop": ("crop_top_px", "crop_left_px"),
}
"""Columns of a loader that are two fields of the plan."""
_ROWS_PER_PIECE = 65_536
_VERSION = 2
"""Raised whenever a filter or split would select other rows: older bitmaps are left alone."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows of one run that a source selects.

    Attributes:
        bitmap: Of their places in the run; None is all of them.
        num_rows: How many.
        digest: Of the bitmap; "all" without one.
        ordered: The same rows in another order than ascending, 8 bytes each; None where they are.
    """

    bitmap: RowBitmap | None
    num_rows: int
    digest: str
    ordered: Indices | None = None

    @property
    def rows(self) -> Indices | None:
        """Places in the run, ascending, 8 bytes each; None is all of them."""
        return None if self.bitmap is None else self.bitmap.rows()

    def rows_at(self, indices: Indices) -> Indices:
        """Return the places in the run of the selected rows of some numbers."""
        if self.ordered is not None:
            return self.ordered[indices]
        return indices.copy() if self.bitmap is None else self.bitmap.select(indices)


def select_rows(
    source: Source, snapshot: Snapshot, generation: Generation, cache: ShardCache | None = None
) -> list[Selection]:
    """Return what a source selects of each run of a generation.

    Raises:
        ConfigError: The filter is wrong, or speaks of what the snapshot lacks.
    """
    if not source.filter and source.split == "all":
        return [Selection(None, run.num_rows, "all") for run in generation.runs]
    parsed = parse_filter(source.filter) if source.filter else None
    names = set(parsed.names) if parsed else set()
    _check_names(names, snapshot, source)
    if parsed is not None:
        planned = {run.bucket for one in snapshot.generations for run in one.runs}
        parsed = with_bucket_names(parsed, planned)
    key = _key(names, source, snapshot, generation)
    sizes = [run.num_rows for run in generation.runs]
    kept = cache.read_bits(key) if cache is not None else None
    if kept is None or len(kept) != sum(_num_bytes(size) for size in sizes):
        bitmaps = _make_bitmaps(source, snapshot, generation, parsed, cache)
        if cache is not None:
            cache.write_bits(key, b"".join(bitmap.packed.tobytes() for bitmap in bitmaps))
    else:
        bitmaps = list(_iter_kept(np.frombuffer(kept, np.uint8), sizes))
    return [_selection(bitmap) for bitmap in bitmaps]


def _selection(bitmap: RowBitmap) -> Selection:
    if bitmap.num_set == bitmap.num_rows:
        return Selection(None, bitmap.num_rows, "all")
    return Selection(bitmap, bitmap.num_set, bitmap.digest())


def joined_selection(parts: Sequence[tuple[Selection, int]]) -> Selection:
    """Return what is selected of several runs, one after the other.

    Args:
        parts: At least one: what is selected, and how many rows the run has.
    """
    if len(parts) == 1:
        return parts[0][0]
    if all(one.bitmap is None for one, _ in parts):
        return Selection(None, sum(num_rows for _, num_rows in parts), "all")
    writer = BitmapWriter()
    for one, num_rows in parts:
        flags = np.ones(num_rows, bool)
        if one.bitmap is not None:
            flags = np.unpackbits(one.bitmap.packed, count=num_rows).astype(bool)
        writer.add(flags)
    joined = writer.finish()
    return Selection(joined, joined.num_set, joined.digest())


def _num_bytes(num_rows: int) -> int:
    return -(-num_rows // 8)


def _iter_kept(packed: Any, sizes: list[int]) -> Iterator[RowBitmap]:
    start = 0
    for size in sizes:
        yield RowBitmap(packed[start : start + _num_bytes(size)], size)
        start += _num_bytes(size)


def _key(names: set[str], source: Source, snapshot: Snapshot, generation: Generation) -> str:
    annotations = {
        entry.name: entry.sha256
        for name in sorted(names & set(snapshot.record.annotations))
        for entry in snapshot.record.annotations[name]
        if entry.generation == generation.number
    }
    selected = {"plan": generation.digest, "annotations": annotations, "version": _VERSION}
    return fingerprint({**selected, "selection": source.selection_key()})


def _check_names(names: set[str], snapshot: Snapshot, source: Source) -> None:
    known = set(snapshot.record.annotations)
    for name in sorted(names - known - set(PLACED_PLAN_SCHEMA.names)):
        fields = ", ".join(PLACED_PLAN_SCHEMA.names)
        if name in PAIRS:
            raise ConfigError(
                f"filter must speak of numbers and texts, got {name!r}, which is a pair "
                f"({source.filter}); write {' and '.join(PAIRS[name])}"
            )
        raise ConfigError(
            f"filter must speak of plan fields ({fields}) or annotations "
            f"({', '.join(sorted(known)) or 'none'}), got {name!r} ({source.filter}); correct it"
        )


def _make_bitmaps(
    source: Source,
    snapshot: Snapshot,
    generation: Generation,
    parsed: Filter | None,
    cache: ShardCache | None,
) -> list[RowBitmap]:
    writers = [BitmapWriter() for _ in generation.runs]
    ends = np.cumsum([run.num_rows for run in generation.runs])
    start = 0
    for values, num_rows in _iter_values(source, snapshot, generation, parsed, cache):
        flags = np.ones(num_rows, bool)
        if parsed is not None:
            flags &= parsed.select(values)
        if source.split != "all":
            is_held_out = held_out(values["path"], values["member"], source)
            flags &= is_held_out if source.split == "val" else ~is_held_out
        pieces = np.split(flags, np.clip(ends - start, 0, num_rows))
        for writer, piece in zip(writers, pieces, strict=False):
            writer.add(piece)
        start += num_rows
    if start != generation.num_rows:
        raise ShardCorruptError(
            f"plan must have {generation.num_rows} rows in generation {generation.number}, got "
            f"{start} ({snapshot.folder.label}); restore its parts"
        )
    return [writer.finish() for writer in writers]


def _iter_values(
    source: Source,
    snapshot: Snapshot,
    generation: Generation,
    parsed: Filter | None,
    cache: ShardCache | None,
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield what filter and split speak of, in plan order, and how many rows that is."""
    names = set(parsed.names) if parsed else set()
    # An annotation that has the name of a placement's field is older than those.
    annotated = set(snapshot.record.annotations) - set(PLAN_SCHEMA.names)
    fields = names & set(PLACED_PLAN_SCHEMA.names) - annotated
    fetch = partial(cache.fetch, snapshot.folder) if cache is not None else None
    opened = {
        name: snapshot.annotation(name, generation.number, fetch=fetch) for name in names - fields
    }
    if source.split != "all":
        fields |= set(_MEDIUM_FIELDS)
    tables: Iterator[dict[str, Any]]
    if fields - {"bucket"}:
        tables = _iter_plan(snapshot, generation, sorted(fields))
    else:
        tables = _iter_buckets(generation.runs)
    start = 0
    for values in tables:
        num_rows = len(next(iter(values.values())))
        for name, annotation in opened.items():
            values[name] = (
                annotation.slice(start, start + num_rows) if annotation else pa.nulls(num_rows)
            )
        yield values, num_rows
        start += num_rows


def _iter_plan(
    snapshot: Snapshot, generation: Generation, fields: list[str]
) -> Iterator[dict[str, Any]]:
    for table in iter_rows(snapshot.folder, generation, fields):
        values: dict[str, Any] = {name: table[name].combine_chunks() for name in fields}
        if "bucket" in values:
            values["bucket"] = values["bucket"].cast(pa.string())
        yield values


def _iter_buckets(runs: tuple[BucketRun, ...]) -> Iterator[dict[str, Any]]:
    """Yield the one plan field that the plan's parts need not be read for."""
    for run in runs:
        bucket = pa.scalar(str(run.bucket))
        for start in range(0, run.num_rows, _ROWS_PER_PIECE):
            yield {"bucket": pa.repeat(bucket, min(_ROWS_PER_PIECE, run.num_rows - start))}


def held_out(paths: Any, members: Any, source: Source) -> Flags:
    """Return which rows' media are in ``val``.

    Args:
        paths: Of the media, a ``pyarrow`` array.
        members: In those, likewise; "" without.
        source: Whose split it is.
    """
    is_same = np.ones(max(len(paths) - 1, 0), bool)  # clips of one medium follow each other
    for values in (paths, members):
        is_same &= pc.equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    first = np.flatnonzero(np.append(True, ~is_same)[: len(paths)])
    media = zip(*(v.take(indices(first)).to_pylist() for v in (paths, members)), strict=True)
    digests = b"".join(keyed_digests(source.split_seed, ("split",), media))
    # As ``keyed_uniform``: the upper 53 bits as a fraction.
    shares = (np.frombuffer(digests, "<u8") >> np.uint64(11)) / float(1 << 53)
    counts = np.diff(np.append(first, len(paths)))
    assert source.holdout is not None, "worked out when the source was opened"
    found: Flags = np.repeat(shares < source.holdout, counts)
    return found
