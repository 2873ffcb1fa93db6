"""One column of a new snapshot: its three tables, written in one pass over its units.

Memory holds one entry per unit and a few metas; rows pass through.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from latentcache.core.rejects import Reject
from latentcache.core.seeds import new_write_id
from latentcache.core.units import BucketRun, UnitRange
from latentcache.storage import Folder, map_ahead
from latentcache.store.format.object_names import TableKind, snapshot_table_name
from latentcache.store.format.records import (
    ColumnEntry,
    EncodingRecord,
    Generation,
    NamedText,
    Published,
    UnitEntry,
)
from latentcache.store.format.unit_meta import UnitMeta
from latentcache.store.rows.plan_tables import (
    read_rejects,
    read_retired,
    read_rows,
    retired_shard,
)
from latentcache.store.snapshots.snapshot_tables import (
    QUARANTINE_SCHEMA,
    STATISTICS_SCHEMA,
    UNITS_SCHEMA,
    TableWriter,
    has_tables,
    iter_table,
    read_statistics,
    read_units,
    statistics_rows,
    unit_row,
)
from latentcache.store.units.commit_choices import Choice, choose_units
from latentcache.store.units.unit_reader import read_unit_meta

Array = np.ndarray[Any, Any]
MergeStatistics = Callable[[Iterable[Mapping[str, Array]]], Mapping[str, Array]]
"""Merges statistics in the order given; takes what it returns as the first of its parts."""


@dataclass(frozen=True, kw_only=True)
class ColumnChange:
    """A column that the next snapshot serves from ``record``'s newest commits.

    Attributes:
        record: The encoding, as it is in the store.
        merge_statistics: Folds units' statistics, in unit order, from the left.
        published: Normalization that the snapshot is to name; None leaves what is named.
        texts: Texts encoded once that it is to name; () leaves those that are named.
    """

    record: EncodingRecord
    merge_statistics: MergeStatistics
    published: Published | None = None
    texts: tuple[NamedText, ...] = ()

    def named(self, parent: ColumnEntry | None) -> Published | None:
        """Return the figures that differ from the encoding's own, or None."""
        asked = self.published or (parent.published if parent else None)
        if asked is None or same_ops(asked.normalizer, self.record.normalizer):
            return None
        return asked


def same_ops(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether two normalizers do the same, whatever they say of where figures came from."""
    return _plain_ops(one) == _plain_ops(other)


def _plain_ops(normalizer: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    if normalizer is None:
        return None
    return [
        {
            name: list(value) if isinstance(value, list | tuple) else value
            for name, value in op.items()
            if value not in ("", 0, (), []) and (name, value) != ("axis", "C")
        }
        for op in normalizer["ops"]
    ]


@dataclass(frozen=True, kw_only=True)
class ColumnDraft:
    """What became of a change.

    Attributes:
        entry: For the snapshot.
        num_units_missing: Planned units that nothing serves.
        problem: Why commits that exist cannot serve the first such unit, or "".
    """

    entry: ColumnEntry
    num_units_missing: int
    problem: str


@dataclass(frozen=True, kw_only=True)
class PlanView:
    """The plan as a publisher needs it: generations, and live rows no more."""

    folder: Folder
    generations: Sequence[Generation]
    retired: Mapping[int, Array]

    @classmethod
    def read(cls, folder: Folder, generations: Sequence[Generation]) -> "PlanView":
        """Return the view of ``generations``."""
        # Most generations retire nothing, and an empty table costs more than none (pandas).
        tables = [read_retired(folder, each) for each in generations if each.retired]
        found = [np.stack([t["shard"].to_numpy(), t["row"].to_numpy()], axis=1) for t in tables]
        pairs = np.unique(np.concatenate([np.zeros((0, 2), np.int64), *found]), axis=0)
        shards, starts = np.unique(pairs[:, 0], return_index=True)
        groups = np.split(pairs[:, 1], starts[1:])
        retired = {int(shard): rows for shard, rows in zip(shards, groups, strict=False)}
        return cls(folder=folder, generations=generations, retired=retired)

    @property
    def num_planned(self) -> int:
        """Live rows, and rows refused while planning."""
        refused = sum(one.num_rejects for one in self.generations)
        return self.num_rows + refused - self._num_retired(is_reject=True)

    @property
    def num_rows(self) -> int:
        """Live rows."""
        listed = sum(one.num_rows for one in self.generations)
        return listed - self._num_retired(is_reject=False)

    def _num_retired(self, *, is_reject: bool) -> int:
        return sum(len(rows) for shard, rows in self.retired.items() if (shard < 0) == is_reject)

    def retired_rows(self, unit: UnitRange) -> Array:
        """Return the rows of ``unit`` that are live no more."""
        rows = self.retired.get(unit.unit.shard)
        if rows is None:
            return np.zeros(0, np.int64)
        return rows[(rows >= unit.first_row) & (rows < unit.first_row + unit.num_rows)]

    def is_dead(self, unit: UnitRange) -> bool:
        """Return whether no row of ``unit`` is live any more, as after a fold."""
        return len(self.retired_rows(unit)) == unit.num_rows

    def are_live(self, shards: Array, rows: Array) -> Array:
        """Return which rows, by shard and row, are live."""
        live = np.ones(len(shards), bool)
        for shard in self.retired.keys() & set(np.unique(shards).tolist()):
            live &= (shards != shard) | ~np.isin(rows, self.retired[shard])
        return live

    def retired_places(self, run: BucketRun) -> Array:
        """Return the places in ``run`` of its rows that are live no more, ascending."""
        ends = [run.first_shard, run.first_shard + run.num_shards]
        first, stop = np.searchsorted(self._shards, ends)
        places = [
            (shard - run.first_shard) * run.rows_per_shard + self.retired[shard]
            for shard in self._shards[first:stop].tolist()
        ]
        return np.concatenate([np.zeros(0, np.int64), *places])

    @cached_property
    def _shards(self) -> Array:
        return np.array(sorted(self.retired), np.int64)

    def retired_rejects(self, generation: int) -> set[int]:
        """Return the positions of a generation's rejects that are live no more."""
        return set(self.retired.get(retired_shard(generation), np.zeros(0, np.int64)).tolist())


def draft_column(
    plan: PlanView, change: ColumnChange, parent: ColumnEntry | None, *, number: int, scratch: Path
) -> ColumnDraft:
    """Write the tables of one column and return what the snapshot says of it.

    If the parent's choices stand as they are, nothing is written and its entry returned.

    Args:
        plan: What should be there.
        change: The encoding that serves the column.
        parent: The column in the parent snapshot, or None.
        number: Of the new snapshot.
        scratch: An empty local folder.
    """
    record = change.record
    if parent is not None and parent.encoding_digest != record.digest:
        parent = None
    if parent is not None and not has_tables(plan.folder, parent):
        parent = None
    entries = read_units(plan.folder, parent.units) if parent else []
    choices = choose_units(plan.folder, record, plan.generations, entries)
    missing = [choice for choice in choices if choice.entry is None]
    if (
        parent is not None
        and parent.num_generations == len(plan.generations)
        and not any(choice.is_new for choice in choices)
    ):
        entry = parent
    else:
        writer = _ColumnWriter(plan, record, parent, scratch)
        continues = parent is not None and _continues(plan, parent, entries, choices)
        entry = writer.write(choices, continues, change.merge_statistics, number)
    texts = change.texts or (parent.texts if parent else ())
    entry = replace(entry, published=change.named(parent), texts=texts)
    problem = next((choice.problem for choice in choices if choice.problem), "")
    return ColumnDraft(entry=entry, num_units_missing=len(missing), problem=problem)


def _continues(
    plan: PlanView, parent: ColumnEntry, entries: Sequence[UnitEntry], choices: Sequence[Choice]
) -> bool:
    """Return whether the parent's units are the first of the new ones, unchanged, and as live.

    Only then may merging go on from the parent's statistics: floating-point sums depend on
    their order, and a unit that was replaced, or of which no row is live any more, cannot be
    taken out again.
    """
    served = [choice for choice in choices if choice.entry is not None][: len(entries)]
    if not entries or any(choice.is_new for choice in served):
        return False
    dead = [choice.unit for choice in served if plan.is_dead(choice.unit)]
    if not dead:
        return True
    before = PlanView.read(plan.folder, plan.generations[: parent.num_generations])
    return all(before.is_dead(unit) for unit in dead)


class _ColumnWriter:
    """Streams units into the three tables of one column, counting as it goes."""

    def __init__(
        self, plan: PlanView, record: EncodingRecord, parent: ColumnEntry | None, scratch: Path
    ) -> None:
        self._plan = plan
        self._record = record
        self._parent = parent
        schemas = {
            "units": UNITS_SCHEMA,
            "quarantine": QUARANTINE_SCHEMA,
            "statistics": STATISTICS_SCHEMA,
        }
        self._tables: dict[TableKind, TableWriter] = {
            kind: TableWriter(scratch / f"{record.column}-{kind}.parquet", schemas[kind])
            for kind in ("units", "quarantine", "statistics")
        }
        self._generations = {one.number: one for one in plan.generations}
        self._carried = _CarriedRejects(plan.folder, parent)
        self._num_encoded = 0
        self._num_bytes = 0

    def write(
        self, choices: Sequence[Choice], continues: bool, merge: MergeStatistics, number: int
    ) -> ColumnEntry:
        for generation in self._plan.generations:
            self._tables["quarantine"].add(self._plan_rejects(generation))
        parts = self._stream(choices, continues)
        first = next(parts, None)
        merged = merge(chain([first], parts)) if first is not None else {}
        for _ in parts:
            raise AssertionError("merging must take all statistics")
        self._tables["statistics"].add(statistics_rows(self._record.column, merged))
        return self._entry(number)

    def _stream(self, choices: Sequence[Choice], continues: bool) -> Iterator[Mapping[str, Array]]:
        """Add every unit to the tables; yield the statistics that are to be merged."""
        if continues and self._parent is not None:
            statistics = read_statistics(self._plan.folder, self._parent.statistics)
            if statistics:
                yield statistics
        served = [choice for choice in choices if choice.entry is not None]

        def load(choice: Choice) -> UnitMeta | None:
            is_needed = choice.is_new or not continues or len(self._plan.retired_rows(choice.unit))
            if choice.entry is None or not is_needed:
                return None
            return read_unit_meta(self._plan.folder, choice.entry)

        for choice, meta in zip(served, map_ahead(load, served), strict=True):
            self._add(choice, meta)
            is_counted = choice.is_new or not continues
            if meta is None or not is_counted or self._plan.is_dead(choice.unit):
                continue
            if meta.statistics:
                yield meta.statistics

    def _add(self, choice: Choice, meta: UnitMeta | None) -> None:
        entry, retired = choice.entry, self._plan.retired_rows(choice.unit)
        assert entry is not None
        self._tables["units"].add([unit_row(self._record.column, entry)])
        gone = 0
        if meta is not None and len(retired):
            gone = int(meta.present[retired - choice.unit.first_row].sum())
        self._num_encoded += entry.num_present - gone
        self._num_bytes += entry.tar.size_bytes if entry.tar else 0
        if entry.num_present == choice.unit.num_rows:
            return
        if meta is None:
            rows = self._carried.take(choice.unit)
        else:
            rows = self._unit_rejects(choice.unit, meta)
        dead = set(retired.tolist())
        self._tables["quarantine"].add(row for row in rows if row["row"] not in dead)

    def _plan_rejects(self, generation: Generation) -> Iterator[dict[str, Any]]:
        table = read_rejects(self._plan.folder, generation).combine_chunks()
        dead = self._plan.retired_rejects(generation.number)
        for batch in table.to_batches():
            for row, values in enumerate(batch.to_pylist()):
                if row in dead:
                    continue
                reject = Reject(**{name: values[name] for name in Reject.__dataclass_fields__})
                position = (generation.number, -1, row)
                yield self._quarantine_row(values, position, reject)

    def _unit_rejects(self, unit: UnitRange, meta: UnitMeta) -> Iterator[dict[str, Any]]:
        if not meta.rejects:
            return
        generation = self._generations[unit.generation]
        names = ["key", "path", "member"]
        planned = read_rows(self._plan.folder, generation, unit, names)
        for row, reject in sorted(meta.rejects, key=lambda item: item[0]):
            values = {name: planned[name][row - unit.first_row].as_py() for name in names}
            yield self._quarantine_row(values, (unit.generation, unit.unit.shard, row), reject)

    def _quarantine_row(
        self, sample: Mapping[str, Any], position: tuple[int, int, int], reject: Reject
    ) -> dict[str, Any]:
        generation, shard, row = position
        return {
            "column": self._record.column,
            "key": sample["key"],
            "path": sample["path"],
            "member": sample["member"],
            "generation": generation,
            "shard": shard,
            "row": row,
            **{name: getattr(reject, name) for name in Reject.__dataclass_fields__},
        }

    def _entry(self, number: int) -> ColumnEntry:
        record, write_id = self._record, new_write_id()
        tables = {
            kind: table.finish(
                self._plan.folder, snapshot_table_name(number, record.column, kind, write_id)
            )
            for kind, table in self._tables.items()
        }
        num_quarantined = tables["quarantine"].num_rows
        return ColumnEntry(
            fingerprint=record.fingerprint,
            encoding_digest=record.digest,
            units=tables["units"],
            quarantine=tables["quarantine"],
            statistics=tables["statistics"],
            num_generations=len(self._plan.generations),
            num_planned=self._plan.num_planned,
            num_encoded=self._num_encoded,
            num_quarantined=num_quarantined,
            num_missing=self._plan.num_planned - self._num_encoded - num_quarantined,
            num_bytes=self._num_bytes,
        )


class _CarriedRejects:
    """The parent's quarantine rows, taken unit by unit in the order they are stored in."""

    def __init__(self, folder: Folder, parent: ColumnEntry | None) -> None:
        self._rows = self._iter_rows(folder, parent)
        self._next = next(self._rows, None)

    def take(self, unit: UnitRange) -> Iterator[dict[str, Any]]:
        first = (unit.unit.shard, unit.first_row)
        stop = (unit.unit.shard, unit.first_row + unit.num_rows)
        while self._next is not None and _position(self._next) < stop:
            if _position(self._next) >= first:
                yield self._next
            self._next = next(self._rows, None)

    @staticmethod
    def _iter_rows(folder: Folder, parent: ColumnEntry | None) -> Iterator[dict[str, Any]]:
        if parent is not None:
            for batch in iter_table(folder, parent.quarantine, QUARANTINE_SCHEMA):
                yield from batch.to_pylist()


def _position(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["shard"], row["row"]
