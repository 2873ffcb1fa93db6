"""Freeing one encoding: its objects at once, and the snapshots that would miss them.

``collect_garbage`` waits a grace for whoever may still read or write. Here somebody says by name
that nobody does: what is lost can be computed again, and a newest snapshot never loses anything.
"""

from collections.abc import Sequence

from latentcache.core.errors import StoreError
from latentcache.storage import Folder, ObjectInfo
from latentcache.store.format import object_names as layout
from latentcache.store.format.records import EncodingRecord
from latentcache.store.garbage import GcReport, deletion_rank, retire_snapshot
from latentcache.store.snapshots.numbers import list_snapshots, read_snapshot
from latentcache.store.store import Store

QUIET_S = 600.0
"""An encoding that got an object later than this ago may have a run at work on it."""

_DELETE_BATCH = 1000


def free_encoding(
    store: Store, record: EncodingRecord, *, dry_run: bool = True, quiet_s: float = QUIET_S
) -> GcReport:
    """Delete every object of one encoding, retire the snapshots that serve it, return what went.

    Args:
        store: The store.
        record: The encoding.
        dry_run: Only report.
        quiet_s: How long the encoding must have got nothing new, by the store's own clock.

    Raises:
        StoreError: The newest snapshot serves it, or a run may be at work on it.
    """
    serving = _serving_snapshots(store.folder, record)
    existing = list_snapshots(store.folder)
    if existing and existing[-1] in serving:
        raise StoreError(
            f"encoding to free must not be served, got {record.fingerprint[:12]} which snapshot "
            f"{existing[-1]} serves as column {record.column}; serve another first: latentcache "
            f"encode {store.folder.label} --column {record.column} --encoder ..."
        )
    folder = layout.encoding_folder(record.column, record.fingerprint)
    listed = [
        info for info in store.folder.list(folder, with_temporary=True) if _is_ours(info, folder)
    ]
    _check_quiet(store.folder, record, listed, quiet_s)
    listed.sort(key=lambda info: (deletion_rank(info.name), info.name))
    if not dry_run:
        for number in serving:
            retire_snapshot(store.folder, number)
        for start in range(0, len(listed), _DELETE_BATCH):
            store.folder.delete([info.name for info in listed[start : start + _DELETE_BATCH]])
    return GcReport(
        is_dry_run=dry_run, retired=tuple(serving), deleted=tuple(listed), waiting=(), num_kept=0
    )


def _serving_snapshots(folder: Folder, record: EncodingRecord) -> list[int]:
    """Return the numbers of the snapshots that serve an encoding, ascending."""
    found = []
    for number in list_snapshots(folder):
        entry = read_snapshot(folder, number).columns.get(record.column)
        if entry is not None and entry.fingerprint == record.fingerprint:
            found.append(number)
    return found


def _is_ours(info: ObjectInfo, folder: str) -> bool:
    return info.name.startswith(f"{folder}/") and (
        info.is_temporary or layout.is_collectable(info.name)
    )


def _check_quiet(
    folder: Folder, record: EncodingRecord, listed: Sequence[ObjectInfo], quiet_s: float
) -> None:
    newest_s = max((info.modified_s for info in listed), default=0.0)
    age_s = folder.now_s() - newest_s
    if listed and age_s < quiet_s:
        raise StoreError(
            f"encoding to free must have got nothing for {quiet_s:.0f} s, got "
            f"{record.fingerprint[:12]} with an object written {max(0.0, age_s):.0f} s ago; a run "
            "may be at work on it: wait, or say with --grace 0 that none is"
        )
