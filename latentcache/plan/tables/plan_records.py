"""Rows of Parquet, JSONL and CSV tables as plain mappings, in bounded memory."""

import io
import json
from collections.abc import Iterator, Set
from typing import BinaryIO, cast

from latentcache.plan.listing import extension_of
from latentcache.plan.tables.csv_records import csv_header, iter_csv
from latentcache.plan.tables.parquet_records import READ_BUFFER_BYTES, iter_parquet, open_parquet
from latentcache.plan.tables.table_rows import MAX_LINE_BYTES, BrokenRecord, ColumnNotes, Record
from latentcache.storage import Folder

PARQUET_EXTENSIONS = frozenset({".parquet", ".pq"})
JSON_EXTENSIONS = frozenset({".jsonl", ".ndjson"})
CSV_EXTENSIONS = frozenset({".csv", ".tsv"})
MANIFEST_EXTENSIONS = PARQUET_EXTENSIONS | JSON_EXTENSIONS | CSV_EXTENSIONS


def iter_records(
    root: Folder, name: str, *, texts: Set[str] = frozenset(), notes: ColumnNotes | None = None
) -> Iterator[Record | BrokenRecord]:
    """Yield the rows of one table; binary columns are left out.

    Args:
        root: Of the corpus.
        name: Of the table.
        texts: Columns of CSV that are text whatever their characters.
        notes: Told of values that are no text or of no type that is kept.

    Raises:
        OSError: Reading fails, at its start or later.
    """
    with root.open_read(name) as file:
        extension = extension_of(name)
        if extension in PARQUET_EXTENSIONS:
            yield from iter_parquet(file, notes)
        elif extension in CSV_EXTENSIONS:
            yield from iter_csv(file, extension, texts)
        else:
            yield from _iter_jsonl(file)


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
    # Bytes that are not UTF-8 stay recognizable, so that texts of them are left out by name.
    text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape").strip()
    if not text:
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return BrokenRecord(number, "the line is not JSON")
    if isinstance(fields, dict):
        return Record(number, fields)
    return BrokenRecord(number, "the line is not a JSON object")


def column_names(root: Folder, name: str) -> list[str]:
    """Return the column names of a table: of its first readable row for JSONL.

    Raises:
        ConfigError: A CSV file has another separator.
        OSError: It cannot be read.
    """
    with root.open_read(name) as file:
        extension = extension_of(name)
        if extension in PARQUET_EXTENSIONS:
            table = open_parquet(file)
            return list(table.schema_arrow.names) if table else []
        if extension in CSV_EXTENSIONS:
            return csv_header(file, extension)
        first = next((r for r in _iter_jsonl(file) if isinstance(r, Record)), None)
        return list(first.fields) if first else []
