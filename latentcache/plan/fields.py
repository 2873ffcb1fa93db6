"""Annotation fields: which values of a record are kept, and under which names."""

import fnmatch
import re
from collections.abc import Mapping, Set
from datetime import date, time
from decimal import Decimal
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.plan.listing import Annotation, storable_text
from latentcache.plan.options import PlanOptions
from latentcache.store.rows import PLAN_SCHEMA

Annotations = dict[str, Annotation]

CAPTION_NAMES = ("caption", "text", "captions", "prompt")
LABEL_NAMES = ("label", "class", "cls", "class_name")

PLAN_NAMES = frozenset(PLAN_SCHEMA.names)
"""Columns of the plan itself: a field of that name is kept as ``given_<name>``."""

_MAX_NAME = 57
"""Leaves room for a prefix: the store takes 64 characters."""
_UNSAFE = re.compile(r"[^a-z0-9_]+")


def is_included(path: str, options: PlanOptions) -> bool:
    """Whether ``path`` matches the plan's ``include`` glob; ``*`` matches ``/`` too."""
    return not options.include or fnmatch.fnmatchcase(path, options.include)


def annotations_of(
    fields: Mapping[str, Any], options: PlanOptions, *, leave_out: Set[str] = frozenset()
) -> Annotations:
    """Return the fields worth keeping: scalars and lists of texts, under safe names.

    The caption is called ``caption`` and the label ``label``, whatever the record
    calls them; empty values are left out.
    """
    renamed = {
        name: new
        for name, new in (
            (_first(fields, options.caption_column, CAPTION_NAMES), "caption"),
            (_first(fields, options.label_column, LABEL_NAMES), "label"),
        )
        if name
    }
    kept: Annotations = {}
    # The caption and the label come first: of two names that become one, the first is kept.
    for name, value in sorted(fields.items(), key=lambda field: field[0] not in renamed):
        plain = plain_value(value)
        if name not in leave_out and plain is not None:
            kept.setdefault(renamed.get(name) or safe_name(name), plain)
    return kept


def check_given_columns(names: Set[str], options: PlanOptions, *, where: str) -> None:
    """Refuse options that name a column which ``where`` lacks.

    Raises:
        ConfigError: The first such column, with the columns that are there.
    """
    for option in ("path_column", "caption_column", "label_column"):
        given = getattr(options, option)
        if given and given not in names:
            raise ConfigError(
                f"{option} must be one of {', '.join(sorted(names)) or 'no columns'}, "
                f"got {given!r} ({where}); name a column that is there"
            )


def safe_name(name: str) -> str:
    """Return ``name`` as the store may call it: lower-case letters, digits and underscores."""
    clean = _UNSAFE.sub("_", name.lower())[:_MAX_NAME].strip("_")
    if not clean or not clean[0].isalpha():
        clean = f"field_{clean}" if clean else "field"
    return f"given_{clean}" if clean in PLAN_NAMES else clean


def plain_value(value: Any) -> Annotation | None:
    """Return ``value`` if a table column can hold it, else None."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return value if value - value == 0 else None  # NaN and infinity mean "not known"
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, str) for v in value):
        return [storable_text(text) for text in value]
    return str(value) if isinstance(value, (date, time, Decimal)) else None


def _first(fields: Mapping[str, Any], given: str, usual: tuple[str, ...]) -> str:
    if given:
        return given
    return next((name for name in usual if plain_value(fields.get(name)) is not None), "")
