"""Pictures inside Parquet files: which column holds them, and reading their rows."""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from latentcache.plan.tables.parquet_records import is_binary, open_parquet

BYTES_COLUMNS = (
    *("image", "jpg", "jpeg", "png", "webp", "img"),
    *("image_bytes", "bytes", "data", "content"),
)
READ_ROWS = 32
"""Rows decoded at a time."""


def bytes_columns(file: BinaryIO) -> list[str]:
    """Return the columns that may hold pictures: of bytes, or structs with ``bytes``.

    Hugging Face writes such structs. One whose bytes are all null does not count: its paths do.
    """
    table = open_parquet(file)
    if table is None:
        return []
    return [field.name for field in table.schema_arrow if _holds_bytes(table, field)]


def unnamed_column(found: list[str]) -> str:
    """Return the column of a member that names none, of those that hold bytes.

    It is the first with one of the usual names, else the only one; empty if there is none.
    Which column a plan takes is another matter (``plan.manifest``); stores remember members by
    this rule.
    """
    usual = next((name for name in BYTES_COLUMNS if name in found), "")
    return found[0] if not usual and len(found) == 1 else usual


def cell_member(row: int, column: str = "") -> str:
    """Return the member name of a cell: its row, and its column if that is not the usual one."""
    return f"{row}@{column}" if column else str(row)


class CellReader:
    """The pictures of one Parquet file, by row; made for rows that come in ascending order.

    A row group may hold gigabytes, so it is decoded a few rows at a time and going
    back starts the group again.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Open the file.

        Raises:
            ValueError: It is not Parquet.
        """
        table = open_parquet(file)
        if table is None:
            raise ValueError("the file is not Parquet")
        self._file, self._table = file, table
        counts = [table.metadata.row_group(g).num_rows for g in range(table.num_row_groups)]
        self._group_ends = list(accumulate(counts))
        self._usual = unnamed_column(bytes_columns(file))
        self._column = ""
        self._group = -1
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._cells: pa.Array[Any] = pa.array([], pa.binary())
        self._first = 0
        """Row of the first of ``_cells``."""

    def close(self) -> None:
        """Close the file."""
        self._table.close()
        self._file.close()

    def read(self, member: str) -> bytes | None:
        """Return the bytes of one cell, or None for a null.

        Raises:
            ValueError: There is no such row or column.
            OSError: The file cannot be read or is damaged.
        """
        number, _, column = member.partition("@")
        column = column or self._usual
        is_row = number.isdecimal() and self._group_ends and int(number) < self._group_ends[-1]
        if not is_row or column not in self._table.schema_arrow.names:
            raise ValueError("the file has no such row or column any more")
        row = int(number)
        group = bisect_right(self._group_ends, row)
        if (column, group) != (self._column, self._group) or row < self._first:
            self._start(column, group)
        while row >= self._first + len(self._cells):
            self._advance()
        value = self._cells[row - self._first].as_py()
        return value.get("bytes") if isinstance(value, dict) else value

    def _advance(self) -> None:
        group, self._group = self._group, -1  # after a failure the next read starts again
        batch = next(self._batches, None)
        if batch is None:
            raise ValueError("the file has fewer rows than its footer says")
        self._first += len(self._cells)
        self._cells = batch.column(0)
        self._group = group

    def _start(self, column: str, group: int) -> None:
        self._column, self._group = column, group
        self._first = self._group_ends[group - 1] if group else 0
        self._cells = pa.array([], pa.binary())
        is_struct = pa.types.is_struct(self._table.schema_arrow.field(column).type)
        self._batches = self._table.iter_batches(
            batch_size=READ_ROWS,
            row_groups=[group],
            columns=[f"{column}.bytes" if is_struct else column],
        )


def _holds_bytes(table: pq.ParquetFile, field: "pa.Field[Any]") -> bool:
    if not pa.types.is_struct(field.type):
        return is_binary(field.type)
    index = field.type.get_field_index("bytes")
    if index < 0 or not is_binary(field.type.field(index).type):
        return False
    return not _is_all_null(table.metadata, f"{field.name}.bytes")


def _is_all_null(metadata: pq.FileMetaData, leaf: str) -> bool:
    """Whether the statistics say that a leaf column holds nothing but nulls."""
    if metadata.num_rows == 0:
        return False
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in (group.column(index) for index in range(group.num_columns)):
            if column.path_in_schema != leaf:
                continue
            statistics = column.statistics
            if statistics is None or statistics.null_count != group.num_rows:
                return False
    return True
