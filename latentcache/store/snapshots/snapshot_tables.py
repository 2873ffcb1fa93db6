"""A snapshot's tables: units chosen, quarantine, merged statistics; Parquet, one set a column.

A column that did not change since the parent keeps the parent's files, so a snapshot costs
what changed and no more.
"""

import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latentcache.core.errors import ShardCorruptError
from latentcache.core.fingerprint import sha256_hex
from latentcache.core.media import Bucket
from latentcache.core.units import UnitId, UnitRange
from latentcache.storage import Folder
from latentcache.store.format.records import ColumnEntry, ObjectRef, TableRef, UnitEntry
from latentcache.store.format.write_check import land_file

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

ROWS_PER_GROUP = 16_384
"""Rows that wait in memory while a table is written, and that one read decodes."""


def _required(name: str, kind: pa.DataType) -> "pa.Field[Any]":
    return pa.field(name, kind, nullable=False)


UNITS_SCHEMA = pa.schema(
    [
        _required("column", pa.string()),
        _required("unit", pa.string()),
        _required("generation", pa.int32()),
        _required("bucket", pa.string()),
        _required("shard", pa.int32()),
        _required("part", pa.int32()),
        _required("first_row", pa.int32()),
        _required("num_rows", pa.int32()),
        _required("num_present", pa.int32()),
        _required("rev", pa.int32()),
        _required("write_id", pa.string()),
        pa.field("tar_name", pa.string()),
        pa.field("tar_size_bytes", pa.int64()),
        pa.field("tar_sha256", pa.string()),
        _required("meta_name", pa.string()),
        _required("meta_size_bytes", pa.int64()),
        _required("meta_sha256", pa.string()),
    ]
)
"""One row per unit, sorted by (shard, part); the ``tar_`` columns are null without a tar."""

QUARANTINE_SCHEMA = pa.schema(
    [
        _required("column", pa.string()),
        _required("key", pa.string()),
        _required("generation", pa.int32()),
        _required("shard", pa.int32()),
        _required("row", pa.int32()),
        _required("path", pa.string()),
        _required("member", pa.string()),
        _required("stage", pa.string()),
        _required("code", pa.string()),
        _required("reason", pa.string()),
        _required("is_transient", pa.bool_()),
        _required("trace_digest", pa.string()),
    ]
)
"""First the rows refused while planning (shard -1, row = position in the generation's
rejects), by generation; then the others by (shard, row)."""

STATISTICS_SCHEMA = pa.schema(
    [
        _required("column", pa.string()),
        _required("name", pa.string()),
        _required("shape", pa.list_(pa.int64())),
        _required("dtype", pa.string()),
        _required("data", pa.large_binary()),
    ]
)
"""One row per array, sorted by name: row-major little-endian bytes, so it comes back exactly."""


class TableWriter:
    """Writes rows to a local Parquet file in row groups, then uploads it under a fresh name."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._pending: list[dict[str, Any]] = []
        self.num_rows = 0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows; full row groups go to the file."""
        for row in rows:
            self._pending.append(dict(row))
            self.num_rows += 1
            if len(self._pending) == ROWS_PER_GROUP:
                self._flush()

    def finish(self, folder: Folder, name: str) -> TableRef:
        """Upload the table, compare what landed, and return its reference."""
        self._flush()
        self._writer.close()
        landed = land_file(folder, name, self._path)
        return TableRef(
            name=name,
            size_bytes=landed.size_bytes,
            sha256=landed.sha256,
            num_rows=self.num_rows,
        )

    def close(self) -> None:
        """Drop the writer of a table that is not wanted."""
        self._writer.close()

    def _flush(self) -> None:
        if self._pending:
            self._writer.write_table(pa.Table.from_pylist(self._pending, schema=self._schema))
            self._pending = []


def unit_row(column: str, entry: UnitEntry) -> dict[str, Any]:
    """Return a unit's row of ``UNITS_SCHEMA``."""
    row = {
        "column": column,
        "unit": str(entry.unit.unit),
        "generation": entry.unit.generation,
        "bucket": str(entry.unit.bucket),
        "shard": entry.unit.unit.shard,
        "part": entry.unit.unit.part,
        "first_row": entry.unit.first_row,
        "num_rows": entry.unit.num_rows,
        "num_present": entry.num_present,
        "rev": entry.rev,
        "write_id": entry.write_id,
    }
    for kind, ref in (("tar", entry.tar), ("meta", entry.meta)):
        row[f"{kind}_name"] = ref.name if ref else None
        row[f"{kind}_size_bytes"] = ref.size_bytes if ref else None
        row[f"{kind}_sha256"] = ref.sha256 if ref else None
    return row


def _unit_entry(row: Mapping[str, Any]) -> UnitEntry:
    unit = UnitRange(
        unit=UnitId(row["shard"], row["part"]),
        generation=row["generation"],
        bucket=Bucket.parse(row["bucket"]),
        first_row=row["first_row"],
        num_rows=row["num_rows"],
    )
    return UnitEntry(
        unit=unit,
        rev=row["rev"],
        write_id=row["write_id"],
        num_present=row["num_present"],
        tar=_object_ref(row, "tar") if row["tar_name"] is not None else None,
        meta=_object_ref(row, "meta"),
    )


def _object_ref(row: Mapping[str, Any], kind: str) -> ObjectRef:
    return ObjectRef(
        name=row[f"{kind}_name"],
        size_bytes=row[f"{kind}_size_bytes"],
        sha256=row[f"{kind}_sha256"],
    )


def read_units(folder: Folder, ref: TableRef) -> list[UnitEntry]:
    """Return the units of a column, in (shard, part) order.

    Raises:
        ShardCorruptError: The table's bytes are not those that the snapshot names.
    """
    return [
        _unit_entry(row)
        for batch in iter_table(folder, ref, UNITS_SCHEMA)
        for row in batch.to_pylist()
    ]


def has_tables(folder: Folder, entry: ColumnEntry) -> bool:
    """Return whether the tables of a column are in the store, and warn if one is not.

    A publisher that slept for a day may have written its record when gc had taken them.
    """
    for table in (entry.units, entry.quarantine, entry.statistics):
        if folder.stat(table.name) is None:
            logger.warning("%s is not in the store, choosing among all commits again", table.name)
            return False
    return True


def iter_table(folder: Folder, ref: TableRef, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield a table in batches, after its checksum was compared.

    Args:
        folder: The store.
        ref: Of the table.
        schema: Of the table, or some of its fields: others are not decoded.

    Raises:
        ShardCorruptError: The table is missing, or its bytes are not those that the snapshot
            names.
    """
    try:
        data = folder.read(ref.name)
    except FileNotFoundError:
        raise ShardCorruptError(
            f"table must be in the store, got none ({ref.name} in {folder.label}); the snapshot "
            f"is copied in part or was deleted: restore it, or open another"
        ) from None
    if len(data) != ref.size_bytes or sha256_hex(data) != ref.sha256:
        raise ShardCorruptError(
            f"table must have {ref.size_bytes} bytes and SHA-256 {ref.sha256[:16]}, got "
            f"{len(data)} bytes and {sha256_hex(data)[:16]} ({ref.name}); open another snapshot, "
            f"or publish again from the commits"
        )
    with pq.ParquetFile(io.BytesIO(data)) as parquet:
        for batch in parquet.iter_batches(batch_size=ROWS_PER_GROUP, columns=schema.names):
            yield batch.select(schema.names).cast(schema)


def read_quarantine(
    folder: Folder, ref: TableRef, schema: pa.Schema = QUARANTINE_SCHEMA
) -> pa.Table:
    """Return a column's quarantine, or those of its fields that ``schema`` names.

    Raises:
        ShardCorruptError: The table's bytes are not those that the snapshot names.
    """
    return pa.Table.from_batches(iter_table(folder, ref, schema), schema=schema)


def statistics_rows(column: str, arrays: Mapping[str, Array]) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``STATISTICS_SCHEMA`` for a column's arrays."""
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        yield {
            "column": column,
            "name": name,
            "shape": list(array.shape),
            "dtype": array.dtype.name,
            "data": np.ascontiguousarray(little).tobytes(),
        }


def read_statistics(folder: Folder, ref: TableRef) -> dict[str, Array]:
    """Return a column's merged statistics, each array as it was given.

    Raises:
        ShardCorruptError: The table's bytes are not those that the snapshot names.
    """
    arrays = {}
    for batch in iter_table(folder, ref, STATISTICS_SCHEMA):
        for row in batch.to_pylist():
            little = np.dtype(row["dtype"]).newbyteorder("<")
            flat = np.frombuffer(row["data"], little).astype(np.dtype(row["dtype"]))
            arrays[row["name"]] = flat.reshape(row["shape"])
    return arrays
