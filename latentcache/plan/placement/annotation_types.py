"""Typed annotation columns out of loosely typed records.

A column's type is decided by all of its values, so fields travel as JSON until the last
record has been seen.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from latentcache.plan.listing import Annotation

_KINDS = {bool: "bool", int: "int", float: "float", str: "text", list: "texts"}


class AnnotationTypes:
    """Which kinds of value each field was seen with."""

    def __init__(self) -> None:
        self._kinds: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, fields: Mapping[str, Annotation]) -> None:
        """Note the fields of one record."""
        for name, value in fields.items():
            self._kinds[name].add(_KINDS[type(value)])

    def schema(self) -> pa.Schema:
        """Return the columns, by name: the narrowest types that hold every value."""
        return pa.schema([(name, _type_of(self._kinds[name])) for name in sorted(self._kinds)])


def _type_of(kinds: set[str]) -> pa.DataType:
    if kinds == {"bool"}:
        return pa.bool_()
    if kinds == {"int"}:
        return pa.int64()
    if kinds <= {"int", "float"}:
        return pa.float64()
    if "texts" in kinds and kinds <= {"texts", "text"}:
        return pa.list_(pa.string())
    return pa.string()


def to_json(fields: Mapping[str, Annotation]) -> str:
    """Return one text for equal fields."""
    return json.dumps(dict(fields), sort_keys=True, ensure_ascii=False, allow_nan=False)


def annotation_table(texts: Iterable[str | None], schema: pa.Schema) -> pa.Table:
    """Return the columns of ``schema`` from one JSON text per row; null where a field is absent."""
    records = [json.loads(text or "{}") for text in texts]
    columns = {
        field.name: pa.array(
            [_converted(record.get(field.name), field.type) for record in records], field.type
        )
        for field in schema
    }
    return pa.table(columns, schema=schema)


def _converted(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_list(kind):
        return value if isinstance(value, list) else [value]
    if pa.types.is_string(kind) and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return value
