"""Annotation fields: which values of a record are kept, and under which names."""

import fnmatch
import json
import re
from collections.abc import Mapping, Sequence, Set
from datetime import date, time
from decimal import Decimal
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.core.findings import Findings
from latentcache.core.roles import role_of_annotation
from latentcache.plan.listing import Annotation, storable_text
from latentcache.plan.plan_options import PlanOptions
from latentcache.store.rows import PLAN_SCHEMA

Annotations = dict[str, Annotation]

CAPTION_NAMES = ("caption", "text", "captions", "prompt")
LABEL_NAMES = ("label", "class", "cls", "class_name")

PLAN_NAMES = frozenset(PLAN_SCHEMA.names)
"""Columns of the plan itself: a field of that name is kept as ``given_<name>``."""

_MAX_NAME = 57
"""Leaves room for a prefix: the store takes 64 characters."""
_UNDECODED = re.compile("[\udc80-\udcff]")
"""What Python makes of bytes that are not UTF-8 where it keeps them."""
_UNSAFE = re.compile(r"[^a-z0-9_]+")


def is_included(path: str, options: PlanOptions) -> bool:
    """Whether ``path`` matches the plan's ``include`` glob; ``*`` matches ``/`` too."""
    return not options.include or fnmatch.fnmatchcase(path, options.include)


class Noted:
    """Findings of one table or tar, under its name."""

    def __init__(self, findings: Findings, where: str) -> None:
        self._findings, self.where = findings, where

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count something of ``kind``."""
        self._findings.add(kind, example, count)

    def of_column(self, kind: str, column: str, count: int = 1) -> None:
        """Count values of one column."""
        self._findings.add(kind, f"{storable_text(column)} in {self.where}", count)


def texts_in(options: PlanOptions) -> frozenset[str]:
    """Return the columns that are text whatever their characters: captions."""
    return frozenset({options.caption_column, *CAPTION_NAMES})


def annotations_of(
    fields: Mapping[str, Any],
    options: PlanOptions,
    notes: Noted,
    *,
    leave_out: Set[str] = frozenset(),
) -> Annotations:
    """Return the fields worth keeping: scalars and lists of texts, under safe names.

    The caption is called ``caption`` and the label ``label``, whatever the record
    calls them; empty values are left out, and what cannot be kept is counted.
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
    # The caption and the label come first: what they are called is theirs.
    for name, value in sorted(fields.items(), key=lambda field: field[0] not in renamed):
        if name in leave_out or value is None:
            continue
        plain = plain_value(value)
        if plain is None:
            _note_lost(name, value, notes)
            continue
        if isinstance(value, int) and isinstance(plain, str):
            notes.of_column("number_too_large", name)
        new = renamed.get(name) or safe_name(name)
        if new == "caption" and not isinstance(plain, (str, list)):
            plain = json.dumps(plain)
        if new in kept and name != new:
            new = f"given_{new}"[:_MAX_NAME]
        kept.setdefault(new, plain)
    return kept


def _note_lost(name: str, value: Any, notes: Noted) -> None:
    if isinstance(value, str) or (isinstance(value, (list, tuple)) and _are_texts(value)):
        notes.of_column("text_not_utf8", name)
    elif not (isinstance(value, float) or value in ([], {}, ())):
        notes.of_column("field_not_kept", name)


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
    return f"given_{clean}" if clean in PLAN_NAMES or role_of_annotation(clean) else clean


def plain_value(value: Any) -> Annotation | None:
    """Return ``value`` if a table column can hold it, else None."""
    if isinstance(value, str):
        return _stored(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return value if value - value == 0 else None  # NaN and infinity mean "not known"
    if isinstance(value, (list, tuple)) and _are_texts(value):
        texts = [text for each in value if each is not None for text in [_stored(each)]]
        return [text for text in texts if text is not None] or None
    return str(value) if isinstance(value, (date, time, Decimal)) else None


def _are_texts(values: Sequence[Any]) -> bool:
    """Whether a list is of texts, some of them missing."""
    return any(isinstance(v, str) for v in values) and all(
        v is None or isinstance(v, str) for v in values
    )


def _stored(text: str) -> str | None:
    """Return a text as the store can hold it; None if it was read from bytes that are no UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return None if _UNDECODED.search(text) else storable_text(text)
    return text


def _first(fields: Mapping[str, Any], given: str, usual: tuple[str, ...]) -> str:
    if given:
        return given
    return next((name for name in usual if plain_value(fields.get(name)) is not None), "")
