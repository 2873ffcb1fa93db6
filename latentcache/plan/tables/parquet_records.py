"""Rows of Parquet files as plain mappings; binary columns are never decoded."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from latentcache.plan.tables.table_rows import BrokenRecord, ColumnNotes, Record

BATCH_ROWS = 1000
READ_BUFFER_BYTES = 2**20


def open_parquet(file: BinaryIO) -> pq.ParquetFile | None:
    """Return the Parquet file, or None if these bytes are not one."""
    try:
        # Without a buffer the whole column of a row group is read at once.
        return pq.ParquetFile(file, buffer_size=READ_BUFFER_BYTES)
    except (pa.ArrowException, OSError):  # Arrow raises OSError for a broken footer
        return None


def iter_parquet(
    file: BinaryIO, notes: ColumnNotes | None = None
) -> Iterator[Record | BrokenRecord]:
    """Yield the rows; columns of nested types are left out and counted.

    Args:
        file: Seekable.
        notes: Told of columns that are left out and of texts that are none.
    """
    table = open_parquet(file)
    if table is None:
        reason = "the file is not Parquet, or its end is missing"
        yield BrokenRecord(-1, reason, ends_table=True)
        return
    columns, left_out = _plain_columns(table.schema_arrow)
    num_rows = table.metadata.num_rows
    if notes is not None:
        for column in left_out:
            notes.of_column("field_not_kept", column, num_rows)
    if not columns:
        yield from (Record(row, {}) for row in range(num_rows))
        return
    row = 0
    try:
        for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            for fields in _plain_rows(batch, notes):
                yield Record(row, fields)
                row += 1
    except (pa.ArrowException, OSError):
        reason = f"it is damaged at row {row:,} of {num_rows:,}; the rows from there on are lost"
        yield BrokenRecord(row, reason, ends_table=True)


def _plain_rows(batch: pa.RecordBatch, notes: ColumnNotes | None) -> list[dict[str, Any]]:
    """Return the rows of a batch; texts that are not UTF-8 are null, and counted."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        # Arrow does not check the texts of a file. Only one batch in many is read like this.
        names = batch.schema.names
        columns = [
            _plain_cells(batch.column(index), name, notes) for index, name in enumerate(names)
        ]
        return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _plain_cells(column: Any, name: str, notes: ColumnNotes | None) -> list[Any]:
    cells, num_wrong = [], 0
    for cell in column:
        try:
            cells.append(cell.as_py())
        except UnicodeDecodeError:
            cells.append(None)
            num_wrong += 1
    if num_wrong and notes is not None:
        notes.of_column("text_not_utf8", name, num_wrong)
    return cells


def _plain_columns(schema: pa.Schema) -> tuple[list[str], list[str]]:
    """Return the columns to read and those of types that are not kept.

    Read are scalars, lists of text, and ``path`` of a picture's struct.
    """
    columns, left_out = [], []
    for field in schema:
        kind = field.type
        if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
            columns.append(f"{field.name}.path")
        elif _is_text_list(kind):
            columns.append(field.name)
        elif pa.types.is_nested(kind):
            if not _is_medium(kind):
                left_out.append(field.name)
        elif not is_binary(kind):
            columns.append(field.name)
    return columns, left_out


def _is_text_list(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    return bool(pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type))


def _is_medium(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.StructType) and kind.get_field_index("bytes") >= 0


def is_binary(kind: pa.DataType) -> bool:
    """Whether a column of this type holds bytes."""
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
