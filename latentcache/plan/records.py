"""Rows of Parquet, JSONL and CSV tables as plain mappings, in bounded memory."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from latentcache.plan.listing import extension_of
from latentcache.storage import Folder

PARQUET_EXTENSIONS = frozenset({".parquet", ".pq"})
JSON_EXTENSIONS = frozenset({".jsonl", ".ndjson"})
CSV_EXTENSIONS = frozenset({".csv", ".tsv"})
MANIFEST_EXTENSIONS = PARQUET_EXTENSIONS | JSON_EXTENSIONS | CSV_EXTENSIONS

MAX_LINE_BYTES = 64 * 2**20
"""A longer line of JSONL, or cell of CSV, is refused: bytes belong in Parquet."""

BATCH_ROWS = 1000
READ_BUFFER_BYTES = 2**20

_FLOAT = re.compile(r"-?\d+\.\d+(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Record:
    """One row: its number (from 0 in Parquet, from 1 elsewhere) and its fields."""

    position: int
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """A row that cannot be read; ``reason`` says why."""

    position: int
    reason: str


def iter_records(root: Folder, name: str) -> Iterator[Record | BrokenRecord]:
    """Yield the rows of one table; binary columns are left out.

    A table that is damaged as a whole gives one broken record, number -1.
    """
    with root.open_read(name) as file:
        extension = extension_of(name)
        if extension in PARQUET_EXTENSIONS:
            yield from _iter_parquet(file)
        elif extension in CSV_EXTENSIONS:
            yield from _iter_csv(file, extension)
        else:
            yield from _iter_jsonl(file)


def open_parquet(file: BinaryIO) -> pq.ParquetFile | None:
    """Return the Parquet file, or None if these bytes are not one."""
    try:
        # Without a buffer the whole column of a row group is read at once.
        return pq.ParquetFile(file, buffer_size=READ_BUFFER_BYTES)
    except (pa.ArrowException, OSError):  # Arrow raises OSError for a broken footer
        return None


def _iter_parquet(file: BinaryIO) -> Iterator[Record | BrokenRecord]:
    table = open_parquet(file)
    if table is None:
        yield BrokenRecord(-1, "the file is not Parquet, or its end is missing")
        return
    columns = _plain_columns(table.schema_arrow)
    if not columns:
        yield from (Record(row, {}) for row in range(table.metadata.num_rows))
        return
    row = 0
    try:
        for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            for fields in batch.to_pylist():
                yield Record(row, fields)
                row += 1
    except (pa.ArrowException, OSError):
        yield BrokenRecord(row, "the Parquet file is damaged here; the rows after it are lost")


def _plain_columns(schema: pa.Schema) -> list[str]:
    """Return the columns to read: scalars, lists of text, and ``path`` of a picture's struct."""
    columns = []
    for field in schema:
        kind = field.type
        if pa.types.is_struct(kind):
            if kind.get_field_index("path") >= 0:
                columns.append(f"{field.name}.path")
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            if pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type):
                columns.append(field.name)
        elif not is_binary(kind) and not pa.types.is_nested(kind):
            columns.append(field.name)
    return columns


def is_binary(kind: pa.DataType) -> bool:
    """Whether a column of this type holds bytes."""
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _iter_jsonl(file: BinaryIO) -> Iterator[Record | BrokenRecord]:
    # Remote files cannot limit the length of a line.
    with io.BufferedReader(cast(io.RawIOBase, file), READ_BUFFER_BYTES) as lines:
        number = 0
        while line := lines.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := lines.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield BrokenRecord(number, "the line is longer than 64 MiB")
            elif record := _json_record(line, number):
                yield record


def _json_record(line: bytes, number: int) -> Record | BrokenRecord | None:
    """Return the record of one line, or None for an empty one."""
    text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace").strip()
    if not text:
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return BrokenRecord(number, "the line is not JSON")
    if isinstance(fields, dict):
        return Record(number, fields)
    return BrokenRecord(number, "the line is not a JSON object")


def _iter_csv(file: BinaryIO, extension: str) -> Iterator[Record | BrokenRecord]:
    with _text(file) as text:
        yield from _csv_rows(_csv_reader(text, extension))


def _text(file: BinaryIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")


def _csv_reader(text: io.TextIOWrapper, extension: str) -> Any:
    csv.field_size_limit(MAX_LINE_BYTES)
    return csv.reader(text, delimiter="\t" if extension == ".tsv" else ",")


def _csv_rows(rows: Any) -> Iterator[Record | BrokenRecord]:
    header: list[str] | None = None
    number = 0
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield BrokenRecord(number, f"the row is not CSV: {error}")
            continue
        if header is None:
            header = [name.strip() for name in cells]
        elif cells:
            number += 1
            if len(cells) > len(header):
                what = f"the row has {len(cells)} cells, the header {len(header)}"
                yield BrokenRecord(number, what)
            else:
                texts = zip(header, cells, strict=False)
                yield Record(number, {name: _cell(text) for name, text in texts if text != ""})


def _cell(text: str) -> str | int | float:
    """Return a number only if ``text`` spells it as numbers are usually written."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(text)) == text:
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def column_names(root: Folder, name: str) -> list[str]:
    """Return the column names of a table: of its first readable row for JSONL."""
    with root.open_read(name) as file:
        extension = extension_of(name)
        if extension in PARQUET_EXTENSIONS:
            table = open_parquet(file)
            return list(table.schema_arrow.names) if table else []
        if extension in CSV_EXTENSIONS:
            with _text(file) as text:
                try:
                    header: list[str] = next(_csv_reader(text, extension), [])
                except csv.Error:
                    return []
                return [cell.strip() for cell in header]
        first = next((r for r in _iter_jsonl(file) if isinstance(r, Record)), None)
        return list(first.fields) if first else []
