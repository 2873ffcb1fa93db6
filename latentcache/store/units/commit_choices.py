"""Which commit serves each unit of a column: the parent's choice, or a newer valid commit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from latentcache.core.errors import StoreError
from latentcache.core.units import UnitId, UnitRange
from latentcache.storage import Folder, map_ahead
from latentcache.store.format.object_names import encoding_folder
from latentcache.store.format.records import Commit, EncodingRecord, Generation, UnitEntry
from latentcache.store.units.commits import (
    CommitRef,
    commit_mismatch,
    list_candidates,
    newer_than,
    read_commit,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What serves one unit.

    Attributes:
        unit: The unit.
        entry: What serves it, or None if nothing does.
        is_new: The parent snapshot has another choice or none.
        problem: Why commits that exist cannot serve it, or "".
    """

    unit: UnitRange
    entry: UnitEntry | None
    is_new: bool
    problem: str = ""


def choose_units(
    folder: Folder,
    record: EncodingRecord,
    generations: Sequence[Generation],
    parent_entries: Sequence[UnitEntry],
) -> list[Choice]:
    """Return the choice for every planned unit, in (shard, part) order.

    Reads only commits that the parent lacks, and checks that what they name is there.
    """
    candidates = list_candidates(folder, record.column, record.fingerprint)
    kept = {entry.unit.unit: entry for entry in parent_entries}
    digests = {generation.number: generation.digest for generation in generations}
    units = [
        unit
        for generation in generations
        for unit in generation.units(rows_per_unit=record.rows_per_unit)
    ]
    newer = {
        unit.unit: newer_than(candidates.get(unit.unit, ()), _rev(kept.get(unit.unit)))
        for unit in units
    }
    # Listed after the commits: whatever a commit of that listing names was there before it.
    sizes = _object_sizes(folder, record) if any(newer.values()) else {}

    def choose(unit: UnitRange) -> Choice:
        found = first_valid(
            folder, record, newer[unit.unit], (unit, digests[unit.generation]), sizes
        )
        if isinstance(found, UnitEntry):
            return Choice(unit=unit, entry=found, is_new=True)
        return Choice(unit=unit, entry=kept.get(unit.unit), is_new=False, problem=found)

    return _choices(units, newer, kept, map_ahead(choose, [u for u in units if newer[u.unit]]))


def _choices(
    units: Sequence[UnitRange],
    newer: Mapping[UnitId, Sequence[CommitRef]],
    kept: Mapping[UnitId, UnitEntry],
    chosen: Iterator[Choice],
) -> list[Choice]:
    return [
        next(chosen)
        if newer[unit.unit]
        else Choice(unit=unit, entry=kept.get(unit.unit), is_new=False)
        for unit in units
    ]


def _rev(entry: UnitEntry | None) -> int | None:
    return entry.rev if entry is not None else None


def _object_sizes(folder: Folder, record: EncodingRecord) -> dict[str, int]:
    root = encoding_folder(record.column, record.fingerprint)
    return {
        info.name: info.size_bytes
        for kind in ("shards", "meta")
        for info in folder.list(f"{root}/{kind}")
    }


def first_valid(
    folder: Folder,
    record: EncodingRecord,
    refs: Sequence[CommitRef],
    planned: tuple[UnitRange, str],
    sizes: Mapping[str, int],
) -> UnitEntry | str:
    """Return the entry of the best commit that can serve, or why the best one cannot."""
    problem = ""
    unit, generation_digest = planned
    for ref in refs:
        try:
            commit = read_commit(folder, ref)
        except StoreError as error:
            problem = problem or str(error)
            continue
        wrong = commit_mismatch(commit, record, generation_digest) or _absent(commit, unit, sizes)
        if wrong is None:
            return commit_entry(commit, unit)
        problem = problem or f"{ref.name}: {wrong}"
    return problem


def commit_entry(commit: Commit, unit: UnitRange) -> UnitEntry:
    """Return ``unit`` as a snapshot serves it from ``commit``."""
    return UnitEntry(
        unit=unit,
        rev=commit.rev,
        write_id=commit.write_id,
        num_present=commit.num_present,
        tar=commit.tar,
        meta=commit.meta,
    )


def _absent(commit: Commit, unit: UnitRange, sizes: Mapping[str, int]) -> str | None:
    if commit.num_rows != unit.num_rows or commit.generation != unit.generation:
        return f"{commit.num_rows} rows of generation {commit.generation}, planned {unit.num_rows}"
    for ref in (commit.tar, commit.meta):
        if ref is not None and sizes.get(ref.name) != ref.size_bytes:
            return f"{ref.name} has {sizes.get(ref.name, 'no')} bytes, not {ref.size_bytes}"
    return None
