"""Annotations of placed samples as typed columns: their JSON is read once, whatever is asked."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from latentcache.plan.placement.annotation_types import annotation_table
from latentcache.plan.placement.classes import LABEL, LABEL_NAME, Classes
from latentcache.plan.spill import TableFile


class TypedAnnotations:
    """Tables of ``schema``, row for row with the placed ones; made when first asked for.

    Attributes:
        schema: Of the columns. Labels that are names are numbered, with the names beside them.
    """

    def __init__(
        self, placed: TableFile, schema: pa.Schema, classes: Classes | None, scratch: Path
    ) -> None:
        self._placed, self._read_schema = placed, schema
        self._classes, self._scratch = classes, scratch
        self._file: TableFile | None = None
        self.schema = _with_names(schema) if classes else schema

    def __iter__(self) -> Iterator[pa.Table]:
        if not self.schema.names:  # such tables have no length
            return iter([pa.table({}) for _ in range(self._placed.num_batches)])
        if self._file is None:
            self._file = TableFile(self._scratch / "annotations.arrow", self.schema)
            for table in self._placed:
                self._file.append(self._typed(table["annotations"].to_pylist()))
            self._file.close()
        return iter(self._file)

    def _typed(self, texts: list[str | None]) -> pa.Table:
        table = annotation_table(texts, self._read_schema)
        if self._classes is None:
            return table
        names = table[LABEL]
        columns = {name: table[name] for name in table.schema.names}
        columns |= {LABEL_NAME: names, LABEL: self._classes.numbered(names.to_pylist())}
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)


def _with_names(schema: pa.Schema) -> pa.Schema:
    fields = {field.name: field.type for field in schema}
    fields |= {LABEL: pa.int64(), LABEL_NAME: pa.string()}
    return pa.schema([(name, fields[name]) for name in sorted(fields)])
