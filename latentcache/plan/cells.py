"""Pictures inside Parquet files: which column holds them, and reading their rows."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from latentcache.plan.records import is_binary, open_parquet

BYTES_COLUMNS = (
    *("image", "jpg", "jpeg", "png", "webp", "img"),
    *("image_bytes", "bytes", "data", "content"),
)
READ_ROWS = 32
"""Rows decoded at a time: a row group may hold gigabytes."""


def bytes_column(file: BinaryIO, given: str = "") -> tuple[str, bool]:
    """Return the column that holds pictures, and whether it is the one found unasked.

    It is a binary column, or a struct with ``bytes`` as Hugging Face writes it, with one
    of the usual names; else the only such column. A struct whose bytes are all null does
    not count: its paths do. The name is empty if there is none.
    """
    table = open_parquet(file)
    if table is None:
        return "", True
    found = [field.name for field in table.schema_arrow if _holds_bytes(table, field)]
    usual = next((name for name in BYTES_COLUMNS if name in found), "")
    if not usual and len(found) == 1:
        usual = found[0]
    if given:
        return (given, given == usual) if given in found else ("", True)
    return usual, True


def cell_member(row: int, column: str = "") -> str:
    """Return the member name of a cell: its row, and its column if that is not the usual one."""
    return f"{row}@{column}" if column else str(row)


def read_cells(file: BinaryIO, members: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield the bytes of cells, in the order of rows; None for a null one.

    Only row groups that are needed are read, a few rows at a time.

    Raises:
        ValueError: A member is no cell of this file.
    """
    table = open_parquet(file)
    if table is None:
        raise ValueError("the file is not Parquet")
    by_column: dict[str, dict[int, str]] = {}
    for member in members:
        number, _, column = member.partition("@")
        by_column.setdefault(column, {})[int(number)] = member
    for column, rows in by_column.items():
        name = column or bytes_column(file)[0]
        if name not in table.schema_arrow.names or max(rows) >= table.metadata.num_rows:
            raise ValueError("the file has no such row or column any more")
        for row, data in _read_rows(table, name, sorted(rows)):
            yield rows[row], data


def _read_rows(
    table: pq.ParquetFile, column: str, rows: Sequence[int]
) -> Iterator[tuple[int, bytes | None]]:
    wanted = set(rows)
    is_struct = pa.types.is_struct(table.schema_arrow.field(column).type)
    leaf = f"{column}.bytes" if is_struct else column
    first = 0
    for group in range(table.num_row_groups):
        num_rows = table.metadata.row_group(group).num_rows
        last_wanted = max((r for r in rows if first <= r < first + num_rows), default=-1)
        row = first
        batches = table.iter_batches(batch_size=READ_ROWS, row_groups=[group], columns=[leaf])
        while row <= last_wanted:
            cells = next(batches).column(0)
            for offset in range(len(cells)):
                if row + offset in wanted:
                    value = cells[offset].as_py()
                    yield row + offset, value.get("bytes") if isinstance(value, dict) else value
            row += len(cells)
        first += num_rows


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
