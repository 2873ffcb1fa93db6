"""Stores of any size that take no disk space: real records, and tars that are mostly holes.

For what depends on how many samples, shards and records there are, and not on values: how
long a loader takes to open, and how much memory. 100 million samples take seconds to make.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.errors import ConfigError
from latentcache.core.fingerprint import fingerprint
from latentcache.core.media import Bucket
from latentcache.core.seeds import new_write_id
from latentcache.core.units import BucketRun, UnitRange
from latentcache.stats import UnitStatistics
from latentcache.store import EncodingRecord, Generation, Snapshot, Store, UnitEntry
from latentcache.store.format import (
    END_OF_ARCHIVE,
    ColumnEntry,
    MemberLayout,
    ObjectRef,
    RecordRef,
    SnapshotRecord,
    TableKind,
    TableRef,
    UnitObject,
    as_tensor_bytes,
    member_layout,
    plan_name,
    snapshot_name,
    snapshot_table_name,
    unit_object_name,
)
from latentcache.store.snapshots import (
    QUARANTINE_SCHEMA,
    STATISTICS_SCHEMA,
    UNITS_SCHEMA,
    TableWriter,
    statistics_rows,
    unit_row,
)
from latentcache.testing.synthetic import (
    SPATIAL_FACTOR,
    TEMPORAL_FACTOR,
    SyntheticColumn,
    add_generation,
    stored_values,
)

_KEY = "0" * 20
_SHA256 = "0" * 64
_SAMPLES_OF_STATISTICS = 32


def sparse_store(
    url: str | Path,
    *,
    num_samples: int,
    shape: tuple[int, ...] = (4, 32, 32),
    dtype: str = "float16",
    rows_per_shard: int = 8192,
    with_plan_rows: bool = False,
) -> Snapshot:
    """Return the snapshot of a new store with one bucket, whose tars hold one header each.

    A loader opens it, draws from it and resumes on it as on any other. All values are zeros,
    and so are all keys. There are no commits and no metas, and the tars' checksums are made
    up: ``verify`` refuses it. Without ``with_plan_rows`` the plan's parts are absent: a loader
    reads them for filters, splits and plan values only.

    Args:
        url: Of a local folder that is empty or not there.
        num_samples: Planned and encoded.
        shape: C, H, W of an image's latent or C, T, H, W of a clip's.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        rows_per_shard: Rows of every tar but the last.
        with_plan_rows: Write them as well; about 10 us and 50 bytes a row.

    Raises:
        ConfigError: The folder is not local.
    """
    num_frames = 1 + (shape[1] - 1) * TEMPORAL_FACTOR if len(shape) == 4 else 1
    bucket = Bucket(num_frames, shape[-2] * SPATIAL_FACTOR, shape[-1] * SPATIAL_FACTOR)
    store = Store.create(url)
    if not store.folder.is_local:
        raise ConfigError(f"url must be a local folder, got {store.folder.label}; use another")
    if with_plan_rows:
        generation = add_generation(store, [(bucket, num_samples, rows_per_shard)])
    else:
        run = BucketRun(
            bucket=bucket, first_shard=0, num_rows=num_samples, rows_per_shard=rows_per_shard
        )
        generation = _add_generation_without_rows(store, run)
    column = SyntheticColumn(channels=shape[0], dtype=dtype, is_video=len(shape) == 4)
    record = store.write_encoding(column.record())
    return _publish(store, generation, column, record)


def _add_generation_without_rows(store: Store, run: BucketRun) -> Generation:
    options = {"drawn": True}
    generation = Generation(
        write_id=new_write_id(),
        number=0,
        parent=None,
        corpus_url="drawn",
        corpus_kind="folder",
        options=options,
        options_digest=fingerprint(options),
        seed=0,
        runs=(run,),
        parts=(),
        rejects=None,
        retired=None,
        totals={"listed": run.num_rows, "rows": run.num_rows, "rejects": 0, "bytes": 0},
    )
    data, write_id = generation.to_bytes(), generation.write_id
    store.folder.create_if_absent(plan_name(0), data, write_id=write_id)
    return store.generations()[0]


def _publish(
    store: Store, generation: Generation, column: SyntheticColumn, record: EncodingRecord
) -> Snapshot:
    layout = _layout(column, generation.runs[0].bucket)
    units = generation.units(rows_per_unit=record.rows_per_unit)
    entries = [_write_tar(store, record, layout, unit) for unit in units]
    tables: dict[TableKind, tuple[pa.Schema, Iterable[Mapping[str, Any]]]] = {
        "units": (UNITS_SCHEMA, (unit_row(column.name, entry) for entry in entries)),
        "quarantine": (QUARANTINE_SCHEMA, ()),
        "statistics": (STATISTICS_SCHEMA, _statistics_rows(column, record, generation)),
    }
    with tempfile.TemporaryDirectory(prefix="latentcache-sparse-") as scratch:
        written: dict[TableKind, TableRef] = {}
        for kind, (schema, rows) in tables.items():
            table = TableWriter(Path(scratch) / f"{kind}.parquet", schema)
            table.add(rows)
            name = snapshot_table_name(1, column.name, kind, new_write_id())
            written[kind] = table.finish(store.folder, name)
    snapshot = SnapshotRecord(
        write_id=new_write_id(),
        number=1,
        store_id=store.store_id,
        parent=None,
        generations=(RecordRef(number=0, digest=generation.digest),),
        columns={column.name: _entry(generation, record, entries, written)},
        annotations={},
        created="",
    )
    data, write_id = snapshot.to_bytes(), snapshot.write_id
    store.folder.create_if_absent(snapshot_name(1), data, write_id=write_id)
    return store.snapshot()


def _layout(column: SyntheticColumn, bucket: Bucket) -> MemberLayout:
    zeros = np.zeros(column.shape(bucket), np.float32)
    stored = {one.name: stored_values(zeros, column.dtype) for one in column.fields()}
    return member_layout(column.name, as_tensor_bytes(stored))


def _statistics_rows(
    column: SyntheticColumn, record: EncodingRecord, generation: Generation
) -> Iterable[Mapping[str, Any]]:
    shape = (_SAMPLES_OF_STATISTICS, *column.shape(generation.runs[0].bucket))
    statistics = UnitStatistics(record.fields, "point")
    statistics.add({"z": np.random.default_rng(0).standard_normal(shape, np.float32)})
    return statistics_rows(column.name, statistics.arrays())


def _entry(
    generation: Generation,
    record: EncodingRecord,
    entries: Sequence[UnitEntry],
    tables: Mapping[TableKind, TableRef],
) -> ColumnEntry:
    return ColumnEntry(
        fingerprint=record.fingerprint,
        encoding_digest=record.digest,
        units=tables["units"],
        quarantine=tables["quarantine"],
        statistics=tables["statistics"],
        num_generations=1,
        num_planned=generation.num_rows,
        num_encoded=generation.num_rows,
        num_quarantined=0,
        num_missing=0,
        num_bytes=sum(entry.tar.size_bytes for entry in entries if entry.tar),
    )


def _write_tar(
    store: Store, record: EncodingRecord, layout: MemberLayout, unit: UnitRange
) -> UnitEntry:
    written = UnitObject(unit.unit, 0, new_write_id())
    name = unit_object_name(record.column, record.fingerprint, "shards", written)
    meta_name = unit_object_name(record.column, record.fingerprint, "meta", written)
    path = store.folder.local_path(name)
    assert path is not None, "only local stores get here"
    path.parent.mkdir(parents=True, exist_ok=True)
    size_bytes = unit.num_rows * layout.stride + len(END_OF_ARCHIVE)
    with path.open("xb") as file:
        file.write(layout.tar_header.for_key(_KEY) + layout.tensor_header)
        file.truncate(size_bytes)
    return UnitEntry(
        unit=unit,
        rev=0,
        write_id=written.write_id,
        num_present=unit.num_rows,
        tar=ObjectRef(name=name, size_bytes=size_bytes, sha256=_SHA256),
        meta=ObjectRef(name=meta_name, size_bytes=0, sha256=_SHA256),
    )
