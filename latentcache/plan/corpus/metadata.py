"""Tables that describe the pictures beside them: ``metadata.*`` and kohya's ``meta_*.json``."""

import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from latentcache.plan.corpus.annotation_fields import Annotations, Noted, annotations_of, texts_in
from latentcache.plan.corpus.merging import merged_fields
from latentcache.plan.listing import ListingTotals, extension_of, portable_path, reading_failed
from latentcache.plan.plan_options import PlanOptions
from latentcache.plan.tables.plan_records import iter_records
from latentcache.plan.tables.table_rows import Record
from latentcache.storage import Folder

METADATA_FILES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
"""The convention of Hugging Face's ImageFolder: ``file_name`` and any other fields."""
KOHYA_FILES = ("meta_cap.json", "meta_lat.json", "meta_clean.json")
"""What kohya's sd-scripts write: one object, by path or by name without extension."""

TABLE_FILES = frozenset({*METADATA_FILES, *KOHYA_FILES})

FILE_COLUMNS = ("file_name", "filename", "file", "path", "image", "image_path")
MAX_KOHYA_BYTES = 2**30


class MetadataTable:
    """The rows of one table by the file they describe; rows that were never asked for remain."""

    def __init__(self, name: str, folder: str) -> None:
        self.name, self._folder = name, folder
        self._rows: dict[str, Annotations] = {}
        self._stems: set[str] = set()
        self._slashed: dict[str, str] = {}

    def add(self, file: str, fields: Annotations, notes: Noted) -> None:
        """Add the row of one file; a further row of it adds its captions."""
        path = posixpath.normpath(posixpath.join(self._folder, file))
        if "\\" in file:
            slashed = file.replace("\\", "/")
            self._slashed[posixpath.normpath(posixpath.join(self._folder, slashed))] = path
        if path in self._rows:
            notes.add("rows_merged", f"{self.name}: {file}")
            fields = merged_fields([self._rows[path], fields], notes, path)
        self._rows[path] = fields

    def add_stem(self, stem: str, fields: Annotations) -> None:
        """Add a row that names its file without an extension."""
        path = posixpath.normpath(posixpath.join(self._folder, stem))
        self._stems.add(path)
        self._rows[path] = {**self._rows.get(path, {}), **fields}

    def take(self, path: str, notes: Noted) -> Annotations:
        """Return what is said of a file, which is there; its row is used then."""
        if path in self._slashed and path not in self._rows:
            notes.add("backslash_path", f"{self.name}: {self._slashed[path]}")
            return self._rows.pop(self._slashed.pop(path), {})
        if self._stems and path not in self._rows:
            # Of a.jpg and a.png both are described.
            stem = posixpath.splitext(path)[0]
            return self._rows.get(stem, {}) if stem in self._stems else {}
        return self._rows.pop(path, {})

    def left_over(self, described: set[str]) -> Iterator[str]:
        """Yield the files of rows that were not used.

        Args:
            described: Stems of the files that are there.
        """
        return (path for path in self._rows if path not in self._stems or path not in described)

    @property
    def has_stems(self) -> bool:
        """Whether rows name their files without extension."""
        return bool(self._stems)


def read_metadata(
    root: Folder, name: str, options: PlanOptions, totals: ListingTotals
) -> MetadataTable:
    """Return the rows of one table; what cannot be read of it is counted."""
    table = MetadataTable(portable_path(name), posixpath.dirname(name))
    findings = totals.findings
    try:
        totals.open_container(name, "metadata", root.stat(name))
        if posixpath.basename(name) in KOHYA_FILES:
            _read_kohya(root, name, table, options, totals)
            return table
        notes = Noted(findings, table.name)
        for record in iter_records(root, name, texts=texts_in(options), notes=notes):
            if isinstance(record, Record):
                _add_record(table, record, options, notes)
            elif record.ends_table:
                totals.lose(name, record.reason)
            else:
                findings.add("row_broken", f"{table.name}, row {record.position}: {record.reason}")
    except OSError as error:
        totals.lose(name, reading_failed(error))
    return table


def _add_record(table: MetadataTable, record: Record, options: PlanOptions, notes: "Noted") -> None:
    column = next((c for c in FILE_COLUMNS if isinstance(record.fields.get(c), str)), "")
    if not column:
        notes.add("row_without_file", f"{table.name}, row {record.position}: no file_name")
        return
    fields = annotations_of(record.fields, options, notes, leave_out={column})
    table.add(str(record.fields[column]), fields, notes)


def _read_kohya(
    root: Folder, name: str, table: MetadataTable, options: PlanOptions, totals: ListingTotals
) -> None:
    """Read ``{"path or stem": {"caption": ..., "tags": ..., "train_resolution": ...}}``."""
    notes = Noted(totals.findings, table.name)
    try:
        values: Any = json.loads(root.read(name, start=0, end=MAX_KOHYA_BYTES))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, Mapping):
        totals.lose(name, "it is not a JSON object, or longer than 1 GiB")
        return
    for key, fields in values.items():
        if not isinstance(fields, Mapping):
            notes.add("row_broken", f"{table.name}: {key}")
            continue
        # The size of kohya's own bucket says nothing about ours.
        kept = annotations_of(fields, options, notes, leave_out={"train_resolution"})
        file = key.removeprefix(root.url.rstrip("/") + "/") if root.is_local else key
        if extension_of(file):
            table.add(posixpath.basename(file) if file.startswith("/") else file, kept, notes)
        else:
            table.add_stem(posixpath.basename(file) if file.startswith("/") else file, kept)
