"""Where a column's media of a role lie: an annotation, one revision of it for a whole run.

A commit names the revision that it was made of. What differs from it in a later one only nominates
a row: the digest of the bytes decides whether the row is stale.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latentcache.core.errors import ConfigError, MediaError, StoreError
from latentcache.core.inputs import parse_input
from latentcache.core.roles import RoleEntry, role_annotation, role_of_annotation
from latentcache.core.units import UnitId, UnitRange
from latentcache.plan import open_source
from latentcache.runner.text.text_source import AnnotationFiles, newest_files, read_values
from latentcache.runner.units.unit_tools import MADE_OF
from latentcache.storage import Folder, map_ahead
from latentcache.store import Commit, CommitRef, EncodingRecord, Generation, Store
from latentcache.store.format import read_meta
from latentcache.store.snapshots import PlanView

Entries = list[RoleEntry | None]


@dataclass(frozen=True, slots=True)
class RoleTable(AnnotationFiles):
    """One revision of where the media of a role lie, by generation."""

    @classmethod
    def newest(cls, store: Store, asked: str) -> "RoleTable | None":
        """Return the newest revision of the role that ``asked`` names, None if that is no role.

        Raises:
            ConfigError: The plan has no such role; says which it has.
        """
        role = parse_input(asked).role
        if not role:
            return None
        files = newest_files(store, role_annotation(role))
        if not files:
            known = sorted(filter(None, map(role_of_annotation, store.annotation_names())))
            raise ConfigError(
                f"role must be one of the plan's ({', '.join(known) or 'none yet'}), got {role!r} "
                f"(input {asked}); say where its media lie with --update --role {role}=SOURCE"
            )
        return cls(
            role_annotation(role), {number: each.file.name for number, each in files.items()}
        )


def read_entries(folder: Folder, generation: Generation, file: str, unit: UnitRange) -> Entries:
    """Return where the medium of each row of a unit lies, None where it has none.

    Args:
        folder: The store.
        generation: The unit's.
        file: Of the annotation; "" gives none.
        unit: Whose rows.
    """
    values = read_values(folder, generation, file, unit)
    return [None if each is None else RoleEntry.from_text(each) for each in values]


def stale_rows(
    store: Store,
    record: EncodingRecord,
    table: RoleTable,
    corpus_url: str,
    *,
    is_asked_only: bool = False,
) -> dict[UnitId, npt.NDArray[np.int64]]:
    """Return the committed units that hold rows of other media than there are now, and these rows.

    Args:
        store: The store.
        record: An encoding of a role.
        table: Where the media lie now.
        corpus_url: Root of their paths.
        is_asked_only: Nothing is encoded for it: media that cannot be read now count as they were.
    """
    root = Folder.open(corpus_url)
    generations = {each.number: each for each in store.generations()}
    units = {unit.unit: unit for unit in store.units(record)}
    plan = PlanView.read(store.folder, store.generations())
    committed = [(units[unit], ref) for unit, ref in store.commits(record).items() if unit in units]

    def compared(each: tuple[UnitRange, CommitRef]) -> npt.NDArray[np.int64]:
        unit, ref = each
        commit, now = store.read_commit(ref), table.file_of(unit)
        then = str(commit.software.get(MADE_OF, ""))
        if now == then:
            return np.zeros(0, np.int64)
        generation = generations[unit.generation]
        entries = read_entries(store.folder, generation, now, unit)
        before = _entries_before(store, generation, then, unit)
        is_gone = set((plan.retired_rows(unit) - unit.first_row).tolist())
        differing = [
            at
            for at, entry in enumerate(entries)
            if at not in is_gone and (before is None or before[at] != entry)
        ]
        digests = _digests(store, unit, commit) if differing else []
        stale = [
            unit.first_row + at
            for at in differing
            if not _is_same(root, entries[at], digests[at], or_unreadable=is_asked_only)
        ]
        return np.array(stale, np.int64)

    found = zip(committed, map_ahead(compared, committed), strict=True)
    return {unit.unit: rows for (unit, _), rows in found if len(rows)}


def _entries_before(
    store: Store, generation: Generation, file: str, unit: UnitRange
) -> Entries | None:
    """Return where media lay when a unit was encoded, None if the store has forgotten it."""
    try:
        return read_entries(store.folder, generation, file, unit)
    except StoreError:
        return None


def _digests(store: Store, unit: UnitRange, commit: Commit) -> list[bytes]:
    """Return the digest of each row's medium as it was encoded; zeros where it had none."""
    name = commit.meta.name
    data = store.folder.read(name)
    meta = read_meta(data, first_row=unit.first_row, num_rows=unit.num_rows, where=name)
    return [meta.source_digest[at].tobytes() for at in range(unit.num_rows)]


def _is_same(root: Folder, entry: RoleEntry | None, digest: bytes, *, or_unreadable: bool) -> bool:
    """Whether a row's medium has the bytes that were encoded."""
    if entry is None:
        return not any(digest)
    try:
        with open_source(root, entry.source) as (_, _, found):
            return found == digest
    except MediaError:
        return or_unreadable
