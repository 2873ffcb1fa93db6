"""Choosing among commits: many may exist for a unit, and every publisher picks the same one.

The rule: keep the parent snapshot's choice unless a higher rev exists; else the highest
rev, and within it the lowest write id. It needs names alone, so one listing is enough.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from latentcache.core.errors import ShardCorruptError
from latentcache.core.units import UnitId
from latentcache.storage import Folder
from latentcache.store.format.object_names import (
    UnitObject,
    encoding_folder,
    parse_unit_object,
    unit_object_name,
)
from latentcache.store.format.records import Commit, EncodingRecord, UnitEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRef:
    """A commit as its name tells it."""

    unit: UnitId
    rev: int
    write_id: str
    name: str

    @classmethod
    def of_entry(cls, column: str, fingerprint: str, entry: UnitEntry) -> "CommitRef":
        """Return the commit that a snapshot has chosen for a unit of an encoding."""
        written = UnitObject(entry.unit.unit, entry.rev, entry.write_id)
        name = unit_object_name(column, fingerprint, "commits", written)
        return cls(unit=written.unit, rev=written.rev, write_id=written.write_id, name=name)

    @property
    def preference(self) -> tuple[int, str]:
        """Sorts the commits of one unit, best first."""
        return (-self.rev, self.write_id)


Candidates = Mapping[UnitId, Sequence[CommitRef]]


def rank_commits(names: Iterable[str]) -> dict[UnitId, list[CommitRef]]:
    """Return all commits of each unit, best first.

    Args:
        names: Of commit records; other names are left out.
    """
    found: dict[UnitId, list[CommitRef]] = {}
    for name in names:
        written = parse_unit_object(name)
        if written is None or not name.endswith(".json"):
            continue
        ref = CommitRef(unit=written.unit, rev=written.rev, write_id=written.write_id, name=name)
        found.setdefault(ref.unit, []).append(ref)
    for refs in found.values():
        refs.sort(key=lambda ref: ref.preference)
    return found


def list_candidates(folder: Folder, column: str, fingerprint: str) -> dict[UnitId, list[CommitRef]]:
    """Return all commits of each unit of one encoding, best first, from one listing."""
    prefix = f"{encoding_folder(column, fingerprint)}/commits"
    return rank_commits(info.name for info in folder.list(prefix))


def best_commits(candidates: Candidates) -> dict[UnitId, CommitRef]:
    """Return the best commit of each unit, in unit order."""
    return {unit: candidates[unit][0] for unit in sorted(candidates)}


def newer_than(refs: Sequence[CommitRef], rev: int | None) -> list[CommitRef]:
    """Return the commits that would replace a choice of revision ``rev``, best first."""
    return [ref for ref in refs if rev is None or ref.rev > rev]


def read_commit(folder: Folder, ref: CommitRef) -> Commit:
    """Return the record that ``ref`` names.

    Raises:
        ShardCorruptError: The record says another unit, rev or write id than its name.
        StoreError: It does not parse.
    """
    commit = Commit.parse(folder.read(ref.name), where=ref.name)
    said = (commit.unit, commit.rev, commit.write_id)
    named = (str(ref.unit), ref.rev, ref.write_id)
    if said != named:
        raise ShardCorruptError(
            f"commit must be the one its name says, got {said} ({ref.name}); delete it and "
            f"encode the unit again"
        )
    return commit


def commit_mismatch(commit: Commit, record: EncodingRecord, generation_digest: str) -> str | None:
    """Return why ``commit`` was not made under this plan and encoding, or None if it was."""
    if commit.encoding_digest != record.digest:
        return f"encoding {commit.encoding_digest[:12]}, not {record.digest[:12]}"
    if commit.generation_digest != generation_digest:
        return f"generation {commit.generation_digest[:12]}, not {generation_digest[:12]}"
    return None
