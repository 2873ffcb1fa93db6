"""Compaction: units written again without the bytes of rows that are live no more.

A retired row is hidden by every later snapshot, but its tar still holds it. Here each unit that
holds one is copied under the next revision without it; no encoder is needed, and what served before
serves until the copy is published. Captions and labels of retired rows become null the same way, in
another revision of their annotation. What was copied from goes with ``collect_garbage``.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa

from latentcache.core.errors import ShardCorruptError, StoreError
from latentcache.core.rejects import RETIRED_ROW
from latentcache.core.units import UnitRange
from latentcache.storage import Folder, map_ahead
from latentcache.store.format.records import EncodingRecord, Generation, UnitEntry
from latentcache.store.format.unit_meta import UnitMeta
from latentcache.store.rows.annotations import Annotation, list_annotations, open_file
from latentcache.store.rows.revisions import revise_annotation
from latentcache.store.snapshots.column_tables import PlanView
from latentcache.store.snapshots.numbers import list_snapshots, read_snapshot
from latentcache.store.snapshots.snapshot_tables import read_units
from latentcache.store.store import Store
from latentcache.store.units.commit_choices import choose_units, commit_entry
from latentcache.store.units.commits import CommitRef, list_candidates, read_commit
from latentcache.store.units.unit_reader import Array, UnitSample, iter_unit, read_unit_meta
from latentcache.store.units.unit_writer import Provenance, UnitWriter

Recount = Callable[[EncodingRecord, UnitRange, Iterator[UnitSample], UnitMeta], Mapping[str, Array]]
"""Statistics of all the samples that stay; the meta is that of the unit as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldUnit:
    """A unit whose newest commit holds rows that are live no more.

    Attributes:
        record: Its encoding.
        entry: The commit that serves, or would.
        retired: Rows of the shard that are live no more.
        held: Those of them that the tar holds.
        next_rev: What a copy is written as.
    """

    record: EncodingRecord
    entry: UnitEntry
    retired: Array
    held: Array
    next_rev: int

    @property
    def ref(self) -> CommitRef:
        """The commit that is copied."""
        return CommitRef.of_entry(self.record.column, self.record.fingerprint, self.entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldValues:
    """An annotation whose newest revision has values for rows that are live no more."""

    generation: Generation
    name: str
    rows: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a store holds of rows that are live no more.

    Attributes:
        units: To be copied without them.
        values: Annotations to be revised without them.
        objects: Commits and annotation files that hold some, superseded ones included.
        snapshots: Those that serve any of these.
        broken: Units that cannot be read, each with a sentence.
    """

    units: tuple[HeldUnit, ...]
    values: tuple[HeldValues, ...]
    objects: tuple[str, ...]
    snapshots: tuple[int, ...]
    broken: tuple[str, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of the tars that are to be copied."""
        return sum(each.entry.tar.size_bytes for each in self.units if each.entry.tar)


def find_held(store: Store) -> Held:
    """Return what a store holds of rows that are live no more; reads metas and annotations.

    Every encoding counts, served or not: its commits are objects of the store too.
    """
    generations = store.generations()
    plan = PlanView.read(store.folder, generations)
    units: list[HeldUnit] = []
    objects: set[str] = set()
    broken: list[str] = []
    for column in store.columns() if plan.retired else ():
        for record in store.encodings(column):
            search = _Search(store, record, plan)
            units += search.units(broken)
            objects |= search.commits()
    values, files = _held_values(store.folder, generations, plan)
    objects |= files
    return Held(
        units=tuple(units),
        values=tuple(values),
        objects=tuple(sorted(objects)),
        snapshots=tuple(_showing(store.folder, objects)),
        broken=tuple(broken),
    )


class _Search:
    """Looks for retired rows in the commits of one encoding."""

    def __init__(self, store: Store, record: EncodingRecord, plan: PlanView) -> None:
        self._folder, self._record, self._plan = store.folder, record, plan
        found = list_candidates(store.folder, record.column, record.fingerprint)
        newest = store.snapshot() if store.snapshots() else None
        view = newest.columns.get(record.column) if newest else None
        is_served = view is not None and view.record.fingerprint == record.fingerprint
        served = view.units() if view is not None and is_served else []
        choices = choose_units(store.folder, record, plan.generations, served)
        self._choices = [each for each in choices if len(plan.retired_rows(each.unit))]
        self._commits = {each.unit.unit: found.get(each.unit.unit, []) for each in self._choices}

    def units(self, broken: list[str]) -> list[HeldUnit]:
        """Return the units whose choice holds retired rows; note those that cannot be read."""
        found = []
        entries = [choice.entry for choice in self._choices]
        for entry, held in zip(entries, map_ahead(self._held, entries), strict=True):
            if entry is None or len(held) == 0:
                continue
            if isinstance(held, str):
                broken.append(f"{self._record.column} {entry.unit.unit}: {held}")
                continue
            revs = [ref.rev for ref in self._commits[entry.unit.unit]]
            found.append(
                HeldUnit(
                    record=self._record,
                    entry=entry,
                    retired=self._plan.retired_rows(entry.unit),
                    held=held,
                    next_rev=max([entry.rev, *revs]) + 1,
                )
            )
        return found

    def commits(self) -> set[str]:
        """Return the names of all commits that hold a retired row, or cannot be told."""
        refs = [
            (choice.unit, ref)
            for choice in self._choices
            for ref in self._commits[choice.unit.unit]
        ]
        answers = map_ahead(self._is_holding, refs)
        return {ref.name for (_, ref), holds in zip(refs, answers, strict=True) if holds}

    def _held(self, entry: UnitEntry | None) -> Array | str:
        """Return the retired rows that a unit's tar holds, or why that cannot be told."""
        if entry is None:
            return np.zeros(0, np.int64)
        try:
            meta = read_unit_meta(self._folder, entry)
        except ShardCorruptError as error:
            return str(error)
        retired = self._plan.retired_rows(entry.unit)
        held: Array = retired[meta.present[retired - entry.unit.first_row]]
        return held

    def _is_holding(self, each: tuple[UnitRange, CommitRef]) -> bool:
        unit, ref = each
        try:
            return len(self._held(commit_entry(read_commit(self._folder, ref), unit))) != 0
        except (StoreError, FileNotFoundError):
            return True


def _held_values(
    folder: Folder, generations: Sequence[Generation], plan: PlanView
) -> tuple[list[HeldValues], set[str]]:
    """Return the annotations to be revised, and all files that hold values of retired rows."""
    rows = {each.number: _retired_of(each, plan) for each in generations}
    newest: dict[tuple[str, int], HeldValues | None] = {}
    files: set[str] = set()
    if not any(rows.values()):
        return [], files
    ranked = sorted(list_annotations(folder), key=lambda file: (-file.rev, file.write_id))
    for file in ranked:
        found = open_file(folder, generations, file)
        if found is None or not rows[found.generation]:
            continue
        held = _valued(found, rows[found.generation])
        if held:
            files.add(file.name)
        of_generation = generations[found.generation]
        values = HeldValues(generation=of_generation, name=file.annotation, rows=held)
        newest.setdefault((file.annotation, found.generation), values if held else None)
    return [each for each in newest.values() if each], files


def _retired_of(generation: Generation, plan: PlanView) -> list[tuple[int, int]]:
    """Return shard and row of the rows of one generation that are live no more, ascending."""
    if not generation.runs:
        return []
    first = generation.runs[0].first_shard
    shards = (shard for shard in plan.retired if first <= shard < first + generation.num_shards)
    return [(shard, row) for shard in sorted(shards) for row in plan.retired[shard].tolist()]


def _valued(annotation: Annotation, rows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    shards, numbers = np.array(rows, np.int64).T
    has_value = annotation.take(shards, numbers).is_valid().to_pylist()
    return [row for row, is_there in zip(rows, has_value, strict=True) if is_there]


def _showing(folder: Folder, objects: Collection[str]) -> Iterator[int]:
    """Yield the snapshots that serve one of ``objects``."""
    for number in list_snapshots(folder) if objects else ():
        record = read_snapshot(folder, number)
        commits = (
            CommitRef.of_entry(column, entry.fingerprint, unit).name
            for column, entry in record.columns.items()
            for unit in read_units(folder, entry.units)
        )
        files = (entry.name for entries in record.annotations.values() for entry in entries)
        if any(name in objects for name in chain(files, commits)):
            yield number


def copy_unit(store: Store, held: HeldUnit, recount: Recount) -> None:
    """Commit a unit's next revision, which lacks the rows that are live no more.

    Raises:
        ShardCorruptError: What is copied differs from what was recorded.
    """
    folder, record, entry = store.folder, held.record, held.entry
    meta = read_unit_meta(folder, entry)
    generation = next(each for each in store.generations() if each.number == entry.unit.generation)
    # The values are those that this software made.
    software = read_commit(folder, held.ref).software
    provenance = Provenance(generation_digest=generation.digest, software=software)
    gone = set(held.retired.tolist())

    def copied() -> Iterator[UnitSample]:
        for sample in iter_unit(folder, entry, column=record.column):
            if sample.row not in gone:
                writer.add(sample.row, sample.key, sample.fields, _digest(meta, sample.row))
                yield sample

    with UnitWriter(folder, record, entry.unit, provenance=provenance, rev=held.next_rev) as writer:
        for row, reject in meta.rejects:
            writer.reject(row, reject, _digest(meta, row))
        for row in sorted(gone):
            if meta.slot_of(row) is not None:
                writer.reject(row, RETIRED_ROW)
        writer.finish(recount(record, entry.unit, copied(), meta))


def _digest(meta: UnitMeta, row: int) -> bytes:
    return bytes(meta.source_digest[row - meta.first_row].tobytes())


def clear_values(store: Store, held: HeldValues) -> None:
    """Write the next revision of an annotation, with nulls for the rows that are live no more."""
    values = dict.fromkeys(held.rows)
    revise_annotation(store.folder, held.generation, held.name, values, new_type=pa.null())
