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
from latentcache.runner.units.annotation_files import (
    AnnotationFiles,
    MadeUnit,
    differing_rows,
    newest_files,
    read_values,
)
from latentcache.runner.units.unit_tools import MADE_OF
from latentcache.storage import Folder
from latentcache.store import EncodingRecord, Generation, Store

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

    def differ(made: MadeUnit) -> npt.NDArray[np.bool_]:
        entries = read_entries(made.folder, made.generation, made.now, made.unit)
        before = _entries_before(made)
        differs = np.zeros(made.unit.num_rows, np.bool_)
        nominated = [
            at for at in np.flatnonzero(made.is_live) if before is None or before[at] != entries[at]
        ]
        digests = made.digests() if nominated else ()
        for at in nominated:
            digest = digests[at].tobytes()
            differs[at] = not _is_same(root, entries[at], digest, or_unreadable=is_asked_only)
        return differs

    return differing_rows(store, record, table, differ)


def _entries_before(made: MadeUnit) -> Entries | None:
    """Return where media lay when a unit was encoded, None if the store has forgotten it."""
    file = str(made.commit.software.get(MADE_OF, ""))
    try:
        return read_entries(made.folder, made.generation, file, made.unit)
    except StoreError:
        return None


def _is_same(root: Folder, entry: RoleEntry | None, digest: bytes, *, or_unreadable: bool) -> bool:
    """Whether a row's medium has the bytes that were encoded."""
    if entry is None:
        return not any(digest)
    try:
        with open_source(root, entry.source) as (_, _, found):
            return found == digest
    except MediaError:
        return or_unreadable
