"""Typed annotation columns out of loosely typed records.

A column's type is decided by all of its values, so fields travel as JSON until the last
record has been seen.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from latentcache.core.errors import ConfigError
from latentcache.plan.listing import Annotation
from latentcache.plan.placement.classes import LABEL
from latentcache.plan.placement.plan_base import PlanBase

_KINDS = {bool: "bool", int: "int", float: "float", str: "text", list: "texts"}


class AnnotationTypes:
    """Which kinds of value each field was seen with."""

    def __init__(self, base: PlanBase) -> None:
        """Begin with none; those of ``base`` keep their type."""
        self._base = base
        self._kinds: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, fields: Mapping[str, Annotation]) -> None:
        """Note the fields of one record."""
        for name, value in fields.items():
            self._kinds[name].add(_KINDS[type(value)])

    def schema(self) -> pa.Schema:
        """Return the columns, by name: the narrowest types that hold every value.

        Raises:
            ConfigError: Values of a further generation are of another type than the plan's.
        """
        return pa.schema([(name, self._type(name)) for name in sorted(self._kinds)])

    def _type(self, name: str) -> pa.DataType:
        kinds = self._kinds[name]
        found = _type_of(kinds)
        kept: pa.DataType | None = self._base.types.get(name)
        if kept is None or kept == found:
            return found
        if name == LABEL and self._base.classes:
            return pa.string()
        widens = (
            (pa.types.is_floating(kept) and kinds <= {"int", "float"})
            or (pa.types.is_string(kept) and "texts" not in kinds)
            or (pa.types.is_list(kept) and kinds <= {"text", "texts"})
        )
        if not widens:
            raise ConfigError(
                f"annotations must keep their type, got {name} as {' and '.join(sorted(kinds))} in "
                f"new samples where the plan has {kept}; correct them, or plan into another store"
            )
        return kept


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
            [converted(record.get(field.name), field.type) for record in records], field.type
        )
        for field in schema
    }
    return pa.table(columns, schema=schema)


def narrowest_type(values: Iterable[Any]) -> pa.DataType:
    """Return the narrowest type that holds every value."""
    return _type_of({_KINDS[type(value)] for value in values if value is not None})


def converted(value: Any, kind: pa.DataType) -> Any:
    """Return a value as a column of ``kind`` holds it."""
    if value is None:
        return None
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_list(kind):
        return value if isinstance(value, list) else [value]
    if pa.types.is_string(kind) and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return value
