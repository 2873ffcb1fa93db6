"""The plan on disk: one Parquet row per sample, read one unit at a time.

Row groups hold whole shards, so reading a unit decodes the one group that holds its shard.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from latentcache.core.errors import ShardCorruptError
from latentcache.core.media import SourceRef
from latentcache.core.units import UnitRange
from latentcache.storage import Folder
from latentcache.store.format.arrow_numbers import numbers
from latentcache.store.format.records import Generation, PlanPart, TableRef


def _field(name: str, dtype: "pa.DataType", *, nullable: bool = False) -> "pa.Field[Any]":
    return pa.field(name, dtype, nullable=nullable)


PLAN_SCHEMA = pa.schema(
    [
        _field("key", pa.string()),
        _field("shard", pa.int32()),
        _field("row", pa.int32()),
        _field("bucket", pa.dictionary(pa.int32(), pa.string())),
        _field("path", pa.string()),
        _field("member", pa.string()),
        _field("offset_bytes", pa.int64()),
        _field("size_bytes", pa.int64()),
        _field("version", pa.string()),
        _field("source_width_px", pa.int32()),
        _field("source_height_px", pa.int32()),
        _field("resized_width_px", pa.int32()),
        _field("resized_height_px", pa.int32()),
        _field("crop_left_px", pa.int32()),
        _field("crop_top_px", pa.int32()),
        _field("start_s", pa.float64(), nullable=True),
        _field("end_s", pa.float64(), nullable=True),
        _field("frame_rate_fps", pa.float64(), nullable=True),
        _field("is_animated", pa.bool_()),
    ]
)
"""One row per sample, sorted by (shard, row)."""

PLACED_PLAN_SCHEMA = pa.schema(
    [
        *PLAN_SCHEMA,
        _field("resolution_px", pa.int32()),
        _field("crop_index", pa.int32()),
        _field("is_flipped", pa.bool_()),
    ]
)
"""That of plans in which a sample may have several rows, its placements."""

_FIRST = {"resolution_px": 0, "crop_index": 0, "is_flipped": False}
"""What plans without those columns mean: the one placement, at the plan's resolution."""

REJECTS_SCHEMA = pa.schema(
    [
        _field("key", pa.string()),
        _field("path", pa.string()),
        _field("member", pa.string()),
        _field("size_bytes", pa.int64()),
        _field("version", pa.string()),
        _field("code", pa.string()),
        _field("stage", pa.string()),
        _field("reason", pa.string()),
        _field("is_transient", pa.bool_()),
        _field("trace_digest", pa.string()),
    ]
)
"""Samples refused while planning: live, and quarantined for every column."""

RETIRED_SCHEMA = pa.schema(
    [
        _field("shard", pa.int32()),
        _field("row", pa.int32()),
        _field("reason", pa.string()),
    ]
)
"""Rows of earlier generations that are live no more; see ``retired_shard`` for rejects."""


def retired_shard(generation: int) -> int:
    """Return the shard that retired rejects of a generation are listed under; their row is the
    position among its rejects."""
    return -1 - generation


BESIDE_SCHEMA = pa.schema(
    [
        _field("path", pa.string()),
        _field("kind", pa.string()),
        _field("size_bytes", pa.int64()),
        _field("version", pa.string()),
    ]
)
"""Files that tell of samples: ``caption``, ``metadata``, ``manifest``, ``tar``."""


@dataclass(frozen=True, slots=True)
class RowPosition:
    """Where a key stands in the plan."""

    generation: int
    shard: int
    row: int


def read_rows(
    folder: Folder, generation: Generation, unit: UnitRange, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return a unit's plan rows, in row order, decoding only the row group that holds them.

    Args:
        folder: The store.
        generation: The one that planned the unit.
        unit: Any run of rows of one shard.
        columns: Names of ``PLACED_PLAN_SCHEMA``; None for those that the generation has.

    Raises:
        ShardCorruptError: The part does not hold the unit.
    """
    shard = unit.unit.shard
    for part in generation.parts:
        if part.first_shard <= shard < part.first_shard + part.num_shards:
            break
    else:
        raise ShardCorruptError(
            f"shard must be planned by generation {generation.number}, got {shard} "
            f"({folder.label}); the plan and the unit are of different stores"
        )
    names = _schema_of(generation).names if columns is None else list(columns)
    table = _read_group(
        folder, part.name, _group_of(folder, part, shard), stored_columns(names, generation)
    )
    shards = numbers(table["shard"])
    start = int(np.searchsorted(shards, shard)) + unit.first_row
    stop = start + unit.num_rows
    if stop > len(shards) or shards[start] != shard or shards[stop - 1] != shard:
        raise ShardCorruptError(
            f"rows must be planned, got {unit.first_row} to {unit.first_row + unit.num_rows - 1} "
            f"of shard {shard} ({part.name}); the plan is damaged"
        )
    return with_placements(table.slice(start, unit.num_rows), names, generation)


def _schema_of(generation: Generation) -> pa.Schema:
    return PLACED_PLAN_SCHEMA if generation.num_placements > 1 else PLAN_SCHEMA


def stored_columns(names: Iterable[str], generation: Generation) -> tuple[str, ...]:
    """Return what is to be read of a generation's parts for some columns; never nothing."""
    stored = tuple(name for name in names if name in _schema_of(generation).names)
    return stored or ("row",)  # of what every row has alike the length would be lost


def with_placements(table: pa.Table, names: Sequence[str], generation: Generation) -> pa.Table:
    """Return some columns of a plan's rows, with those that say the placement where it has none.

    Args:
        table: Rows of the generation.
        names: Of ``PLACED_PLAN_SCHEMA``.
        generation: Its options say the resolution of plans with one placement.
    """
    resolution_px = generation.options.get("resolution_px", 0)
    if isinstance(resolution_px, list):
        (resolution_px, *_) = resolution_px
    known = {**_FIRST, "resolution_px": resolution_px}
    for name in names:
        if name not in table.schema.names:
            field = PLACED_PLAN_SCHEMA.field(name)
            table = table.append_column(
                field, pa.repeat(pa.scalar(known[name], field.type), len(table))
            )
    return table.select(list(names))


def iter_rows(
    folder: Folder, generation: Generation, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Yield a generation's plan rows in order, one row group at a time."""
    names = _schema_of(generation).names if columns is None else list(columns)
    stored = list(stored_columns(names, generation))
    for part in generation.parts:
        with _opened(folder, part.name) as parquet:
            for group in range(parquet.num_row_groups):
                table = parquet.read_row_group(group, columns=stored).select(stored)
                yield with_placements(table, names, generation)


def read_footer(folder: Folder, name: str) -> pq.FileMetaData:
    """Return what a part says of its row groups.

    Raises:
        ShardCorruptError: It is missing, or is no Parquet file.
    """
    with _opened(folder, name) as parquet:
        return parquet.metadata


def read_group(
    folder: Folder, name: str, group: int, columns: Sequence[str], footer: pq.FileMetaData
) -> pa.Table:
    """Return some columns of one row group of a part.

    Raises:
        ShardCorruptError: The part is missing, or is no Parquet file.
    """
    with _opened(folder, name, footer) as parquet:
        return parquet.read_row_group(group, columns=list(columns))


def find_key(folder: Folder, generations: Sequence[Generation], key: str) -> RowPosition | None:
    """Return where ``key`` stands, in the newest generation that has it; scans the key columns."""
    for generation in reversed(generations):
        for table in iter_rows(folder, generation, ["key", "shard", "row"]):
            index = pc.index(table["key"], key).as_py()
            if index >= 0:
                shard, row = table["shard"][index].as_py(), table["row"][index].as_py()
                return RowPosition(generation.number, shard, row)
    return None


def find_clip(folder: Folder, generations: Sequence[Generation], source: SourceRef) -> str | None:
    """Return the key of the first clip of a video, in plan order; scans the path columns."""
    for generation in reversed(generations):
        for table in iter_rows(folder, generation, ["path", "member", "start_s", "key"]):
            is_path = pc.equal(table["path"], pa.scalar(source.path))
            is_member = pc.equal(table["member"], pa.scalar(source.member))
            is_clip = pc.is_valid(table["start_s"])
            found = table.filter(pc.and_(pc.and_(is_path, is_member), is_clip))
            if len(found):
                return str(found.sort_by("start_s")["key"][0].as_py())
    return None


def first_paths(folder: Folder, generations: Sequence[Generation], *, most: int) -> list[str]:
    """Return the paths, or members of tars, of up to ``most`` rows in plan order."""
    found: list[str] = []
    for generation in generations:
        for table in iter_rows(folder, generation, ["path", "member"]):
            for row in table.slice(0, most - len(found)).to_pylist():
                found.append(row["member"] or row["path"])
            if len(found) >= most:
                return found
    return found


def find_file(
    folder: Folder, generations: Sequence[Generation], name: str, *, most: int = 4
) -> list[tuple[SourceRef, str]]:
    """Return up to ``most`` sources whose path or member ends in the file name ``name``.

    Each with the key of its first row in plan order; scans the path columns.
    """
    found: dict[SourceRef, str] = {}
    ending = "(^|/)" + re.escape(name) + "$"
    for generation in generations:
        for table in iter_rows(folder, generation, ["path", "member", "key"]):
            is_named = pc.or_(
                pc.match_substring_regex(table["path"], ending),
                pc.match_substring_regex(table["member"], ending),
            )
            for row in table.filter(is_named).to_pylist():
                source = SourceRef(path=row["path"], member=row["member"])
                found.setdefault(source, row["key"])
                if len(found) >= most:
                    return list(found.items())
    return list(found.items())


def read_rejects(folder: Folder, generation: Generation) -> pa.Table:
    """Return the rows that planning refused; empty if there are none."""
    return _read_small(folder, generation.rejects, REJECTS_SCHEMA)


def retired_table(rows: Iterable[tuple[int, int, str]]) -> pa.Table:
    """Return a table of ``RETIRED_SCHEMA``, in order, of shards, rows and reasons."""
    columns = zip(*sorted(rows), strict=True)
    values = dict(zip(RETIRED_SCHEMA.names, columns, strict=False))
    return pa.table(
        {name: list(values.get(name, ())) for name in RETIRED_SCHEMA.names}, schema=RETIRED_SCHEMA
    )


def read_retired(folder: Folder, generation: Generation) -> pa.Table:
    """Return the earlier rows that this generation retires; empty if there are none."""
    return _read_small(folder, generation.retired, RETIRED_SCHEMA)


def iter_beside(folder: Folder, generation: Generation) -> Iterator[pa.Table]:
    """Yield the captions, tables and tars that were read; none for the first plans."""
    if generation.beside is None:
        return
    with _opened(folder, generation.beside.name) as parquet:
        for group in range(parquet.num_row_groups):
            yield parquet.read_row_group(group).select(BESIDE_SCHEMA.names).cast(BESIDE_SCHEMA)


def _read_small(folder: Folder, ref: TableRef | None, schema: pa.Schema) -> pa.Table:
    if ref is None:
        return schema.empty_table()
    with _opened(folder, ref.name) as parquet:
        return parquet.read().select(schema.names).cast(schema)


@contextmanager
def _opened(
    folder: Folder, name: str, metadata: pq.FileMetaData | None = None
) -> Iterator[pq.ParquetFile]:
    try:
        with folder.open_read(name) as file, pq.ParquetFile(file, metadata=metadata) as parquet:
            yield parquet
    except FileNotFoundError:
        raise ShardCorruptError(
            f"plan table must be in the store, got none ({name} in {folder.label}); restore it"
        ) from None
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        if isinstance(error, OSError) and (type(error), error.errno) != (OSError, None):
            raise  # of the storage: Arrow's own have no number
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip(" .:")
        raise ShardCorruptError(
            f"plan table must be Parquet, got {reason!r} ({name} in {folder.label}); restore it"
        ) from None


def _group_of(folder: Folder, part: PlanPart, shard: int) -> int:
    last_shards = _footer(folder, part.name)[1]
    return int(np.searchsorted(last_shards, shard))


# A part's name holds a random write id and the object never changes: nothing goes stale.
@lru_cache(maxsize=64)
def _footer(folder: Folder, name: str) -> tuple[pq.FileMetaData, np.ndarray[Any, Any]]:
    """Return a part's footer and the last shard of each row group."""
    with _opened(folder, name) as parquet:
        metadata = parquet.metadata
        column = metadata.schema.names.index("shard")
        groups = range(metadata.num_row_groups)
        statistics = (metadata.row_group(group).column(column).statistics for group in groups)
        return metadata, np.array([found.max if found else -1 for found in statistics])


# Units are read one after the other, and many share a group: two groups of 64 k rows stay.
@lru_cache(maxsize=2)
def _read_group(folder: Folder, name: str, group: int, names: tuple[str, ...]) -> pa.Table:
    with _opened(folder, name, _footer(folder, name)[0]) as parquet:
        wanted = sorted({*names, "shard"})
        return parquet.read_row_group(group, columns=wanted).select(wanted).combine_chunks()
