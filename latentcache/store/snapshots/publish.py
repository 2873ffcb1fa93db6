"""Publishing: freezing a choice of commits under the next number, or losing it and rebasing.

Tables are uploaded first under fresh names; the record that names them is created last, so
a publisher that stops anywhere leaves the old snapshot or the new one, whole. One that slept for
hours in between, while gc took its tables or others went on, notices and begins again.
"""

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from latentcache.core.errors import StoreError
from latentcache.core.seeds import new_write_id
from latentcache.storage import Folder
from latentcache.store.format.object_names import snapshot_name
from latentcache.store.format.records import (
    AnnotationEntry,
    ColumnEntry,
    Generation,
    RecordRef,
    SnapshotRecord,
)
from latentcache.store.format.write_check import STALE_AFTER_S
from latentcache.store.rows.annotation_choices import choose_annotations
from latentcache.store.snapshots.column_tables import (
    ColumnChange,
    ColumnDraft,
    PlanView,
    draft_column,
)
from latentcache.store.snapshots.numbers import (
    list_snapshots,
    read_newest_snapshot,
    read_snapshot,
)

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 100
"""Publishers that win in a row while one loses; each attempt is a few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishTarget:
    """Where a snapshot goes, and how the plan that it covers is read."""

    folder: Folder
    store_id: str
    read_generations: Callable[[], Sequence[Generation]]


def publish_snapshot(
    target: PublishTarget,
    changes: Sequence[ColumnChange],
    *,
    allow_partial: bool,
    base: SnapshotRecord | None,
) -> SnapshotRecord:
    """Return the snapshot that has all ``changes``: a new one, or the head if it has them.

    Args:
        target: The store.
        changes: At most one per column.
        allow_partial: Publish columns that have missing rows.
        base: The head when the caller decided on the changes; a column that another
            publisher has given another encoding since is refused.

    Raises:
        StoreError: A column is incomplete, or changed meanwhile.
    """
    plan = PlanView.read(target.folder, target.read_generations())
    clock = target.folder.policy.clock
    drafts: dict[str, tuple[ColumnEntry | None, ColumnDraft]] = {}
    began_s = clock()
    for _ in range(MAX_ATTEMPTS):
        if clock() - began_s > STALE_AFTER_S:  # gc may have taken the tables since
            drafts, began_s = {}, clock()
        head = read_newest_snapshot(target.folder)
        if head and len(head.generations) > len(plan.generations):
            # The plan grew before another run published: columns that are taken over from there
            # have rows of it, and what it retired must not come back.
            plan, drafts = PlanView.read(target.folder, target.read_generations()), {}
        number = head.number + 1 if head else 1
        columns = dict(head.columns) if head else {}
        for change in changes:
            column = change.record.column
            _check_unmoved(change, base, head)
            parent = columns.get(column)
            # A lost number costs no second pass over a column that the winner left alone.
            if column not in drafts or drafts[column][0] != parent:
                drafts[column] = parent, _draft(plan, change, parent, number)
            draft = drafts[column][1]
            _check_complete(column, draft, allow_partial=allow_partial)
            columns[column] = draft.entry
        annotations = choose_annotations(
            target.folder, plan.generations, head.annotations if head else {}
        )
        if head is not None and (columns, annotations) == (head.columns, head.annotations):
            return head
        if clock() - began_s > STALE_AFTER_S:
            continue
        record = _record(target, plan, head, columns, annotations)
        if not target.folder.create_if_absent(
            snapshot_name(number), record.to_bytes(), write_id=record.write_id
        ):
            logger.info("snapshot %d was published by another run, applying the change", number)
        elif _is_passed(target.folder, record):
            # It stays as an old snapshot that nobody need read: only gc deletes.
            logger.info("snapshot %d had been retired, applying the change to the newest", number)
        elif clock() - began_s <= STALE_AFTER_S:
            return record
    raise StoreError(
        f"snapshot must get a number within {MAX_ATTEMPTS} attempts, got none "
        f"({target.folder.label}); run it again"
    )


def _is_passed(folder: Folder, record: SnapshotRecord) -> bool:
    """Whether others had taken the number, gone on, and retired it while this publisher slept."""
    later = next((one for one in list_snapshots(folder) if one > record.number), None)
    if later is None:
        return False
    parent = read_snapshot(folder, later).parent
    return later != record.number + 1 or parent is None or parent.digest != record.digest


def _draft(
    plan: PlanView, change: ColumnChange, parent: ColumnEntry | None, number: int
) -> ColumnDraft:
    with tempfile.TemporaryDirectory(prefix="latentcache-publish-") as scratch:
        return draft_column(plan, change, parent, number=number, scratch=Path(scratch))


def _record(
    target: PublishTarget,
    plan: PlanView,
    head: SnapshotRecord | None,
    columns: dict[str, ColumnEntry],
    annotations: dict[str, tuple[AnnotationEntry, ...]],
) -> SnapshotRecord:
    return SnapshotRecord(
        write_id=new_write_id(),
        number=head.number + 1 if head else 1,
        store_id=target.store_id,
        parent=RecordRef(number=head.number, digest=head.digest) if head else None,
        generations=tuple(
            RecordRef(number=one.number, digest=one.digest) for one in plan.generations
        ),
        columns=columns,
        annotations=annotations,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _check_unmoved(
    change: ColumnChange, base: SnapshotRecord | None, head: SnapshotRecord | None
) -> None:
    """Refuse to replace an encoding that the caller never saw.

    Two publishers of the same encoding do not conflict: the choice among its commits is
    the same for both.
    """
    column = change.record.column
    before = base.columns.get(column) if base else None
    now = head.columns.get(column) if head else None
    if now is None or now == before or now.encoding_digest == change.record.digest:
        return
    assert head is not None
    seen = f"{before.fingerprint} of snapshot {base.number}" if before and base else "none"
    raise StoreError(
        f"column {column!r} must not change while it is published, got encoding "
        f"{now.fingerprint} in snapshot {head.number} where {seen} was replaced by "
        f"{change.record.fingerprint}; run the same command again if yours is to be served"
    )


def _check_complete(column: str, draft: ColumnDraft, *, allow_partial: bool) -> None:
    if allow_partial or not draft.entry.num_missing:
        return
    entry = draft.entry
    because = f"; {draft.problem}" if draft.problem else ""
    raise StoreError(
        f"column {column!r} must be complete, got {entry.num_missing} of {entry.num_planned} "
        f"rows missing in {draft.num_units_missing} units (encoding {entry.fingerprint}{because}); "
        f"run it again to encode them, or publish with --partial"
    )
