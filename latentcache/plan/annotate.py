"""Captions and labels revised from a table, by key or path, without planning again.

Every column of the table but the one that names the sample is an annotation. A revision keeps what
the table does not speak of, so that a table of three rows changes three samples.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from latentcache.core.errors import ConfigError
from latentcache.core.findings import Findings
from latentcache.plan.corpus.annotation_fields import Noted, annotations_of, texts_in
from latentcache.plan.corpus.metadata import FILE_COLUMNS
from latentcache.plan.growth.known_plan import plan_base
from latentcache.plan.listing import Annotation, extension_of, portable_path
from latentcache.plan.placement.classes import LABEL, LABEL_NAME
from latentcache.plan.placement.plan_base import PlanBase
from latentcache.plan.plan_options import PlanOptions
from latentcache.plan.tables.plan_records import (
    JSON_EXTENSIONS,
    MANIFEST_EXTENSIONS,
    column_names,
    iter_records,
)
from latentcache.plan.tables.table_rows import BrokenRecord, Record
from latentcache.storage import Folder
from latentcache.store import Generation, Store
from latentcache.store.format import numbers
from latentcache.store.rows import iter_rows, replace_values
from latentcache.store.snapshots import PlanView

_KEY = "key"
_KINDS = {
    bool: "true or false",
    int: "whole numbers",
    float: "numbers",
    str: "texts",
    list: "lists of texts",
}
_TYPES = {
    frozenset({bool}): pa.bool_(),
    frozenset({int}): pa.int64(),
    frozenset({float}): pa.float64(),
    frozenset({int, float}): pa.float64(),
    frozenset({str}): pa.string(),
    frozenset({list}): pa.list_(pa.string()),
    frozenset({str, list}): pa.list_(pa.string()),
}
_NUM_EXAMPLES = 3


@dataclass(kw_only=True)
class Revision:
    """What a table has revised.

    Attributes:
        num_rows: Of the table.
        num_samples: Found by its rows; a path with several clips counts each.
        revised: Samples that got a value, by annotation.
        num_unmatched: Rows that name no sample of the plan.
        unmatched: The first of those, as the table has them.
        num_empty: Values that are empty; what was there before stays.
        findings: What could not be kept of the table.
        snapshot: That serves the revision; None where nothing is encoded yet.
    """

    num_rows: int = 0
    num_samples: int = 0
    revised: dict[str, int] = field(default_factory=dict)
    num_unmatched: int = 0
    unmatched: list[str] = field(default_factory=list)
    num_empty: int = 0
    findings: Findings = field(default_factory=Findings)
    snapshot: int | None = None


def annotate(store: Store, table_url: str, options: PlanOptions) -> Revision:
    """Write the next revision of every annotation that a table has values for, and serve it.

    Args:
        store: With a plan.
        table_url: A .csv, .tsv, .jsonl or .parquet with a column ``key``, or one of file names
            (``file_name``, ``path`` ...; ``path!member`` in a tar), as the plan has them.
        options: Of them ``path_column``, ``caption_column`` and ``label_column`` count.

    Raises:
        ConfigError: There is no such table or column, a sample is named twice, types are mixed or
            differ from those in the store, or no row finds a sample; nothing is written then.
    """
    generations = store.generations()
    if not generations:
        raise ConfigError(
            f"store must have a plan, got none ({store.folder.label}); run `latentcache plan "
            "CORPUS STORE` first"
        )
    found = Revision()
    table = _read(table_url, options, plan_base(store, generations), found)
    roots = [each.corpus_url.rstrip("/") + "/" for each in generations]
    retired = PlanView.read(store.folder, generations)
    rows = _RowNumbers(table.names, roots, is_key=table.is_key)
    matched = [
        [
            _of_live(rows, part, retired)
            for part in iter_rows(store.folder, each, ["key", "path", "member", "shard", "row"])
        ]
        for each in generations
    ]
    found.num_samples = sum(int((part >= 0).sum()) for parts in matched for part in parts)
    missing = rows.unused()
    found.num_unmatched = len(missing)
    found.unmatched = missing[:_NUM_EXAMPLES]
    if not found.num_samples:
        raise ConfigError(
            f"rows must name samples of the plan, got {found.num_rows:,} of which none does (e.g. "
            f"{', '.join(missing[:_NUM_EXAMPLES]) or 'an empty table'}); paths are relative to "
            f"{roots[0]}, and latentcache status --urls says where the keys are"
        )
    for generation, parts in zip(generations, matched, strict=True):
        if any((part >= 0).any() for part in parts):
            _write(store, generation, parts, table.values, found)
    if store.snapshots():
        found.snapshot = store.publish([], allow_partial=True).number
    return found


@dataclass(frozen=True, kw_only=True)
class _Table:
    """What a table says: its rows' names of samples, and a value or null per row and annotation."""

    names: list[str]
    is_key: bool
    values: Mapping[str, Any]


def _read(url: str, options: PlanOptions, base: PlanBase, found: Revision) -> _Table:
    root, name = _located(url)
    columns = column_names(root, name)
    column = _naming_column(columns, options, where=url)
    texts = {each for each in columns if pa.types.is_string(base.types.get(each, pa.null()))}
    notes = Noted(found.findings, portable_path(name))
    names: list[str] = []
    records: list[dict[str, Annotation]] = []
    first_seen: dict[str, int] = {}
    options = replace(options, path_column="")
    for record in iter_records(root, name, texts=texts_in(options) | texts | {column}, notes=notes):
        if isinstance(record, BrokenRecord):
            raise ConfigError(
                f"table must be readable to its end, got row {record.position} that is not "
                f"({url}: {record.reason}); correct it"
            )
        at = _name_in(record, column, where=url)
        if at in first_seen:
            raise ConfigError(
                f"rows must name each sample once, got {at} in rows {first_seen[at]} and "
                f"{record.position} ({url}); give one row a sample, several captions as a list"
            )
        first_seen[at] = record.position
        names.append(at)
        records.append(annotations_of(record.fields, options, notes, leave_out={column}))
        asked = record.fields if extension_of(name) in JSON_EXTENSIONS else columns
        found.num_empty += sum(record.fields.get(each) is None for each in asked)
    found.num_rows = len(names)
    positions = list(first_seen.values())
    values = {
        each: _typed(each, records, positions, base.types, where=url)
        for each in sorted({name for record in records for name in record})
    }
    return _Table(names=names, is_key=column == _KEY, values=_numbered(values, base, where=url))


def _located(url: str) -> tuple[Folder, str]:
    if extension_of(url) not in MANIFEST_EXTENSIONS:
        raise ConfigError(
            f"table must be .csv, .tsv, .jsonl or .parquet, got {url}; write the captions as one "
            "of these"
        )
    parent, _, name = (url if "://" in url else str(Path(url).expanduser().resolve())).rpartition(
        "/"
    )
    root = Folder.open(parent or "/")
    if root.stat(name) is None:
        raise ConfigError(f"table must be a file, got {url} (no such file); check the path")
    return root, name


def _naming_column(columns: list[str], options: PlanOptions, *, where: str) -> str:
    """Return the column that names the sample: ``key`` first, it is exact."""
    wanted = (options.path_column,) if options.path_column else (_KEY, *FILE_COLUMNS)
    column = next((each for each in wanted if each in columns), None)
    if column is None:
        raise ConfigError(
            f"table must have a column {' or '.join(wanted)}, got {', '.join(columns) or 'none'} "
            f"({where}); name the one that says which sample a row is about, --path-column NAME"
        )
    return column


def _name_in(record: Record, column: str, *, where: str) -> str:
    value = record.fields.get(column)
    if not isinstance(value, str) or not value:
        raise ConfigError(
            f"rows must name a sample, got row {record.position} with {column} {value!r} "
            f"({where}); fill it in, or leave the row out"
        )
    return value


class _RowNumbers:
    """Which row of the table is about a sample, found as the plan is read."""

    def __init__(self, names: list[str], roots: list[str], *, is_key: bool) -> None:
        self._names, self._is_key = names, is_key
        self._is_used = np.zeros(len(names), bool)
        self._number: dict[Any, int] = {}
        for number, name in enumerate(names):
            at = name if is_key else _relative(name, roots)
            other = self._number.setdefault(at, number)
            if other != number:
                raise ConfigError(
                    f"rows must name each sample once, got {names[other]} and {name}, which is the "
                    "same; give one row a sample, several captions as a list"
                )

    def of(self, rows: pa.Table) -> npt.NDArray[np.int64]:
        """Return the row of the table per row of the plan, -1 for none."""
        number = self._number
        if self._is_key:
            found = [number.get(key, -1) for key in rows["key"].to_pylist()]
        else:
            pairs = zip(rows["path"].to_pylist(), rows["member"].to_pylist(), strict=True)
            found = [
                number.get(f"{path}!{member}" if member else path, -1) for path, member in pairs
            ]
        numbers = np.array(found, np.int64)
        self._is_used[numbers[numbers >= 0]] = True
        return numbers

    def unused(self) -> list[str]:
        """Return the names that no sample had."""
        return [self._names[number] for number in np.flatnonzero(~self._is_used).tolist()]


def _of_live(rows: _RowNumbers, table: pa.Table, plan: PlanView) -> npt.NDArray[np.int64]:
    """Return the row of the table per row of the plan, -1 for none and for what was retired."""
    found = rows.of(table)
    shards, numbers_in = numbers(table["shard"]), numbers(table["row"])
    for shard in plan.retired.keys() & set(np.unique(shards).tolist()):
        found[(shards == shard) & np.isin(numbers_in, plan.retired[shard])] = -1
    return found


def _relative(name: str, roots: list[str]) -> str:
    for root in roots:
        name = name.removeprefix(root)
    return name if "://" in name else posixpath.normpath(portable_path(name))


def _typed(
    name: str,
    records: list[dict[str, Annotation]],
    positions: list[int],
    there: Mapping[str, Any],
    *,
    where: str,
) -> Any:
    """Return one annotation of every row as an Arrow array.

    Raises:
        ConfigError: Its values are of several kinds, or of another than those in the store.
    """
    values = [record.get(name) for record in records]
    seen: dict[type, int] = {}
    for index, value in enumerate(values):
        if value is not None:
            seen.setdefault(type(value), index)
    kind: Any = _TYPES.get(frozenset(seen))
    if kind is None:
        kinds = " and ".join(
            f"{_KINDS[each]} (row {positions[index]}: {_short(values[index])})"
            for each, index in seen.items()
        )
        raise ConfigError(
            f"values of {name} must be of one kind, got {kinds} ({where}); write all of them alike"
        )
    now = there.get(name)
    if now is not None and kind != now:
        fits = (kind, now) in (
            (pa.int64(), pa.float64()),
            (pa.string(), pa.list_(pa.string())),
            (pa.string(), pa.int64()) if name == LABEL and LABEL_NAME in there else (None, None),
        )
        if not fits:
            index = next(iter(seen.values()))
            raise ConfigError(
                f"values of {name} must be {now} as those in the store, got {kind} (row "
                f"{positions[index]}: {_short(values[index])}, {where}); convert them, or give the "
                "column another name"
            )
        kind = kind if name == LABEL and pa.types.is_string(kind) else now
    if pa.types.is_list(kind):
        values = [[value] if isinstance(value, str) else value for value in values]
    if pa.types.is_floating(kind):
        values = [None if value is None else float(value) for value in values]  # type: ignore[arg-type]  # numbers, see _TYPES
    return pa.array(values, kind)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _numbered(values: Mapping[str, Any], base: PlanBase, *, where: str) -> dict[str, Any]:
    """Return ``values`` with labels that are names as the numbers which the store gave them."""
    found = dict(values)
    label = found.get(LABEL)
    if label is None or not pa.types.is_string(label.type) or base.types.get(LABEL) != pa.int64():
        return found
    classes = base.classes
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = sorted({name for name in label.to_pylist() if name is not None} - numbers.keys())
    if unknown:
        raise ConfigError(
            f"labels must be classes of the store, got {len(unknown)} that are not (e.g. "
            f"{unknown[0]!r}, {where}); known are {', '.join(classes[:5])}"
            f"{' ...' if len(classes) > 5 else ''}; plan another store for new classes"
        )
    found[LABEL_NAME] = label
    found[LABEL] = pa.array(
        [None if name is None else numbers[name] for name in label.to_pylist()], pa.int64()
    )
    return found


def _write(
    store: Store,
    generation: Generation,
    parts: list[npt.NDArray[np.int64]],
    values: Mapping[str, Any],
    found: Revision,
) -> None:
    for name, new in values.items():
        # An empty value of the table leaves what was there.
        has_value = np.append(new.is_valid().to_numpy(zero_copy_only=False), False)
        numbers = [np.where(has_value[part], part, -1) for part in parts]
        count = sum(int((part >= 0).sum()) for part in numbers)
        found.revised[name] = found.revised.get(name, 0) + count
        before = store.annotation(generation, name)
        given = np.concatenate(numbers) >= 0
        given |= False if before is None else before.given
        replace_values(store.folder, generation, name, new, numbers, given=given)
