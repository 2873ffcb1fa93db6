"""Names of a store's objects, relative to its root: the one place that spells a path of format 1.

Numbers in names are plain decimals; every name that is not exclusive carries a write id,
so two writers never meet on it.
"""

import re
from dataclasses import dataclass
from typing import Literal

from latentcache.core.errors import StoreError
from latentcache.core.units import UnitId

STORE_NAME = "latentcache.json"
PLAN_FOLDER = "plan"
ANNOTATIONS_FOLDER = "annotations"
ENCODINGS_FOLDER = "encodings"
SNAPSHOTS_FOLDER = "snapshots"
ROOT_FOLDERS = frozenset({PLAN_FOLDER, ANNOTATIONS_FOLDER, ENCODINGS_FOLDER, SNAPSHOTS_FOLDER})

UnitObjectKind = Literal["shards", "meta", "commits"]
PlanTable = Literal["rejects", "retired", "beside"]
TableKind = Literal["units", "quarantine", "statistics"]

UNIT_SUFFIX: dict[UnitObjectKind, str] = {
    "shards": "tar",
    "meta": "safetensors",
    "commits": "json",
}
"""File name endings of the three objects of a unit."""

_COLUMN_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,63}")
_UNIT_OBJECT_PATTERN = re.compile(
    r"(?:.*/)?(\d{8}-\d{4})\.(0|[1-9]\d*)\.([0-9a-f]{16})\.(tar|safetensors|json)"
)
_SNAPSHOT_PATTERN = re.compile(r"(?:.*/)?snapshots/([1-9]\d*)\.json")
_TOMBSTONE_PATTERN = re.compile(r"snapshots/([1-9]\d*)\.retired\.json")
_COLLECTABLE_PATTERNS = (
    re.compile(r"encodings/[^/]+/[^/]+/encoding\.json"),
    re.compile(r"encodings/[^/]+/[^/]+/codebook\.safetensors"),
    re.compile(r"encodings/[^/]+/[^/]+/shards/\d{8}-\d{4}\.\d+\.[0-9a-f]{16}\.tar"),
    re.compile(r"encodings/[^/]+/[^/]+/meta/\d{8}-\d{4}\.\d+\.[0-9a-f]{16}\.safetensors"),
    re.compile(r"encodings/[^/]+/[^/]+/texts/[a-z0-9_]+\.[0-9a-f]{16}\.safetensors"),
    re.compile(r"encodings/[^/]+/[^/]+/commits/\d{8}-\d{4}\.\d+\.[0-9a-f]{16}\.json"),
    re.compile(r"snapshots/\d+\.[a-z0-9_]+-[a-z]+\.[0-9a-f]{16}\.parquet"),
    re.compile(r"plan/\d+/(part-\d+|rejects|retired|beside)\.[0-9a-f]{16}\.parquet"),
    _TOMBSTONE_PATTERN,
)


@dataclass(frozen=True, slots=True, order=True)
class UnitObject:
    """What the name of a tar, meta or commit says; sorts by unit, rev, write id."""

    unit: UnitId
    rev: int
    write_id: str


def checked_column(column: str) -> str:
    """Return ``column`` if it may name a column.

    Raises:
        StoreError: It is not lower-case letters, digits and underscores.
    """
    if _COLUMN_PATTERN.fullmatch(column) is None:
        raise StoreError(
            f"column must be lower-case letters, digits and underscores, got {column!r}; rename it"
        )
    return column


def plan_name(generation: int) -> str:
    """Return the name of a generation's record."""
    return f"{PLAN_FOLDER}/{generation}.json"


def plan_part_name(generation: int, part: int, write_id: str) -> str:
    """Return the name of part ``part`` of a generation's rows."""
    return f"{PLAN_FOLDER}/{generation}/part-{part:05d}.{write_id}.parquet"


def plan_table_name(generation: int, table: PlanTable, write_id: str) -> str:
    """Return the name of a generation's rejected or retired rows, or of the files beside them."""
    return f"{PLAN_FOLDER}/{generation}/{table}.{write_id}.parquet"


def annotation_name(name: str, rev: int, write_id: str) -> str:
    """Return the name of one revision of an annotation."""
    return f"{ANNOTATIONS_FOLDER}/{checked_column(name)}/{rev}.{write_id}.arrow"


def encoding_folder(column: str, fingerprint: str) -> str:
    """Return the folder of one encoding."""
    return f"{ENCODINGS_FOLDER}/{checked_column(column)}/{fingerprint}"


def encoding_name(column: str, fingerprint: str) -> str:
    """Return the name of an encoding's record."""
    return f"{encoding_folder(column, fingerprint)}/encoding.json"


def unit_object_name(
    column: str, fingerprint: str, kind: UnitObjectKind, written: UnitObject
) -> str:
    """Return the name of a unit's tar (``shards``), ``meta`` or commit record (``commits``)."""
    folder = encoding_folder(column, fingerprint)
    suffix = UNIT_SUFFIX[kind]
    return f"{folder}/{kind}/{written.unit}.{written.rev}.{written.write_id}.{suffix}"


def named_text_name(column: str, fingerprint: str, name: str, write_id: str) -> str:
    """Return the name of the fields of a text that is encoded once for an encoding."""
    return f"{encoding_folder(column, fingerprint)}/texts/{name}.{write_id}.safetensors"


def codebook_name(column: str, fingerprint: str) -> str:
    """Return the name of the table of vectors that an encoding's indices stand for."""
    return f"{encoding_folder(column, fingerprint)}/codebook.safetensors"


def parse_unit_object(name: str) -> UnitObject | None:
    """Return what a unit object's name says, or None if ``name`` is not one."""
    match = _UNIT_OBJECT_PATTERN.fullmatch(name)
    if match is None:
        return None
    return UnitObject(UnitId.parse(match[1]), int(match[2]), match[3])


def snapshot_name(number: int) -> str:
    """Return the name of a snapshot's record."""
    return f"{SNAPSHOTS_FOLDER}/{number}.json"


def snapshot_table_name(number: int, column: str, table: TableKind, write_id: str) -> str:
    """Return the name of one column's table in a snapshot."""
    return f"{SNAPSHOTS_FOLDER}/{number}.{column}-{table}.{write_id}.parquet"


def parse_snapshot_name(name: str) -> int | None:
    """Return the number that a snapshot record's name says, or None."""
    match = _SNAPSHOT_PATTERN.fullmatch(name)
    return int(match[1]) if match else None


def tombstone_name(number: int) -> str:
    """Return the name under which a retired snapshot waits for its grace to pass."""
    return f"{SNAPSHOTS_FOLDER}/{number}.retired.json"


def parse_tombstone_name(name: str) -> int | None:
    """Return the number that a tombstone's name says, or None."""
    match = _TOMBSTONE_PATTERN.fullmatch(name)
    return int(match[1]) if match else None


def is_collectable(name: str) -> bool:
    """Return whether gc may ever delete an object of this name; never what it cannot tell."""
    return any(pattern.fullmatch(name) for pattern in _COLLECTABLE_PATTERNS)
