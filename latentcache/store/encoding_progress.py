"""How far each encoding is, counted from commits: true while a run is on and after any death."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.errors import StoreError
from latentcache.core.rejects import Reject
from latentcache.storage import map_ahead
from latentcache.store.format.arrow_numbers import numbers
from latentcache.store.format.object_names import encoding_folder
from latentcache.store.format.records import Commit, EncodingRecord, Generation
from latentcache.store.format.unit_meta import read_meta
from latentcache.store.retired_counts import refused_since, retired_since
from latentcache.store.rows.plan_tables import iter_rows
from latentcache.store.snapshots.column_tables import PlanView
from latentcache.store.snapshots.numbers import list_snapshots, read_snapshot
from latentcache.store.snapshots.snapshot import ColumnView, Snapshot
from latentcache.store.store import Store
from latentcache.store.units.commits import CommitRef, commit_mismatch, rank_commits
from latentcache.store.verification import listed_damage

_LATELY_S = 120.0
"""A run whose last commit is older is not shown as running."""
_LEAST_WAIT_S = 20.0
"""Commits of quick encoders come in bursts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingProgress:
    """How far one encoding of a column is.

    Attributes:
        column: Its name.
        encoder: As the user gave it.
        fingerprint: Of the encoding.
        is_served: By the snapshot that was asked for.
        planned: ``encoded + quarantined + absent + missing``.
        absent: Rows that have no medium of the column's role, as far as a snapshot tells.
        older_snapshots: Numbers of others that serve it, where this one does not.
        kept_bytes: Of encoded batches of open units that lie in the store, of all encodings of the
            column; a run takes up its own.
        stale: Encoded rows whose text or medium of a role is another by now; who asks fills it in.
        num_bytes: Of tars.
        transform: That made its pixels, as the encoding's record has it.
        recent: (landed at, rows) of the newest commits, in seconds since the epoch.
        is_given_up: Another encoding of the column is served, and no run is at work on this one.
        damage: What a listing shows to be gone or cut short of what is served.
    """

    column: str
    encoder: str
    fingerprint: str
    is_served: bool
    planned: int
    encoded: int
    quarantined: int
    num_bytes: int
    num_units_missing: int
    transform: Mapping[str, Any] = field(default_factory=dict)
    recent: Sequence[tuple[float, int]] = ()
    is_given_up: bool = False
    damage: Sequence[str] = ()
    absent: int = 0
    stale: int = 0
    older_snapshots: Sequence[int] = ()
    kept_bytes: int = 0

    @property
    def missing(self) -> int:
        """Not encoded, quarantined or absent yet."""
        return self.planned - self.encoded - self.quarantined - self.absent

    @property
    def last_commit_s(self) -> float | None:
        """When the newest commit landed, in seconds since the epoch; None of none."""
        return max((at for at, _ in self.recent), default=None)

    def rate(self, now_s: float) -> float | None:
        """Return samples per second over the last minutes, or None if no run seems to be on.

        It seems so while the next commit is not overdue: no longer than three times the usual
        wait since the last.
        """
        lately = sorted((at, rows) for at, rows in self.recent if now_s - at <= _LATELY_S)
        if len(lately) < 2:
            return None
        first_s, last_s = lately[0][0], lately[-1][0]
        usual_s = (last_s - first_s) / (len(lately) - 1)
        if now_s - last_s > max(_LEAST_WAIT_S, 3 * usual_s):
            return None
        return sum(rows for _, rows in lately) / max(1.0, now_s - first_s)


def num_planned(store: Store) -> int:
    """Return the live samples of the plan, those refused while planning included."""
    return PlanView.read(store.folder, store.generations()).num_planned


def num_samples(store: Store) -> int | None:
    """Return how many samples the planned rows are of; None where each has one row.

    A sample that was refused while planning has no row and counts too.
    """
    generations = store.generations()
    if all(each.num_placements == 1 for each in generations):
        return None
    plan = PlanView.read(store.folder, generations)
    pieces = [np.zeros(0, np.int64)]
    for generation in generations:
        names = ["path", "member", "start_s", "shard", "row"]
        for table in iter_rows(store.folder, generation, names):
            live = table.filter(
                pa.array(plan.are_live(numbers(table["shard"]), numbers(table["row"])))
            )
            columns = (live[name].to_pylist() for name in names[:3])
            # Hashes of this process: two of a hundred million meet with a chance of 3 in 10,000.
            samples = [hash(each) for each in zip(*columns, strict=True)]
            pieces.append(np.unique(np.array(samples, np.int64)))
    num_refused = plan.num_planned - plan.num_rows
    return len(np.unique(np.concatenate(pieces))) + num_refused


def read_progress(
    store: Store,
    snapshot: Snapshot | None,
    column: str | None = None,
    seen: dict[str, Commit] | None = None,
) -> list[EncodingProgress]:
    """Return every encoding's progress, by column, the one that is served first.

    Args:
        store: With a plan or without.
        snapshot: That says what is served; None before the first.
        column: Only this one; None for all.
        seen: Commits that were read before, by name, which are not read again (they never
            change); those that are read now are put there too.

    Raises:
        StoreError: ``column`` has no encoding; the columns that have are shown.
    """
    known = store.columns()
    if column is not None and column not in known:
        raise StoreError(
            f"column must be one of {', '.join(known) or 'none yet'}, got {column!r} "
            f"({store.folder.label}); run latentcache encode to add it"
        )
    generations = store.generations()
    plan = PlanView.read(store.folder, generations)
    encodings = []
    for name in [column] if column else known:
        view = snapshot.columns.get(name) if snapshot else None
        found = [_progress(store, plan, record, view, seen) for record in store.encodings(name)]
        if any(each.is_served for each in found):
            serving = _serving(store, name) if len(found) > 1 else {}
            found = [_given_up(each, serving.get(each.fingerprint, ())) for each in found]
        if any(each.missing for each in found):
            kept = store.folder.list(f"open/{name}", with_temporary=True)
            num_bytes = sum(info.size_bytes for info in kept)
            found = [replace(each, kept_bytes=num_bytes) for each in found]
        encodings += sorted(found, key=lambda each: (not each.is_served, -each.encoded))
    return encodings


def _serving(store: Store, column: str) -> dict[str, list[int]]:
    """Return the numbers of the snapshots that serve each encoding of a column, ascending."""
    numbers = list_snapshots(store.folder)
    found: dict[str, list[int]] = {}
    snapshots = map_ahead(lambda number: read_snapshot(store.folder, number), numbers)
    for number, snapshot in zip(numbers, snapshots, strict=True):
        if (entry := snapshot.columns.get(column)) is not None:
            found.setdefault(entry.fingerprint, []).append(number)
    return found


def _given_up(each: EncodingProgress, numbers: Sequence[int]) -> EncodingProgress:
    """Return ``each``, marked if no snapshot serves it and no run seems to be on it."""
    if each.is_served:
        return each
    is_given_up = not numbers and each.rate(time.time()) is None
    return replace(each, is_given_up=is_given_up, older_snapshots=tuple(numbers))


def _progress(
    store: Store,
    plan: PlanView,
    record: EncodingRecord,
    view: ColumnView | None,
    seen: dict[str, Commit] | None,
) -> EncodingProgress:
    is_served = view is not None and view.record.fingerprint == record.fingerprint
    entry = view.entry if view is not None and is_served else None
    chosen = view.units() if view is not None and is_served else []
    known = {each.unit.unit for each in chosen}
    prefix = f"{encoding_folder(record.column, record.fingerprint)}/commits"
    landed_s = {info.name: info.modified_s for info in store.folder.list(prefix)}
    units = {each.unit: each for each in store.units(record)}
    best = {unit: refs[0] for unit, refs in rank_commits(landed_s).items() if unit in units}
    # What the snapshot has chosen is counted there, once for ever.
    commits = _valid_commits(store, record, plan.generations, [
        ref for unit, ref in sorted(best.items()) if unit not in known
    ], seen)  # fmt: skip
    rows = {ref.name: units[unit].num_rows for unit, ref in best.items()}
    older = plan.generations[: entry.num_generations] if entry else ()
    then = PlanView.read(store.folder, older)
    counted = [(each.unit, each.meta.name) for each in chosen]
    gone = retired_since(store, plan, then, counted)
    fresh = [(units[each.unit_id], each.meta.name) for each in commits]
    gone_fresh = retired_since(store, plan, PlanView.read(store.folder, ()), fresh)
    refused = refused_since(plan, len(older), then)
    num_absent = view.num_absent if view is not None and is_served else 0
    return EncodingProgress(
        absent=num_absent,
        column=record.column,
        encoder=str(record.spec.get("source") or record.spec.get("name") or "?"),
        fingerprint=record.fingerprint,
        is_served=is_served,
        planned=plan.num_planned,
        encoded=(entry.num_encoded if entry else 0)
        + sum(each.num_present for each in commits)
        - gone[0]
        - gone_fresh[0],
        quarantined=(entry.num_quarantined if entry else 0)
        - num_absent
        + refused
        + sum(each.num_rejected for each in commits)
        - gone[1]
        - gone_fresh[1],
        num_bytes=(entry.num_bytes if entry else 0)
        + sum(each.tar.size_bytes for each in commits if each.tar),
        num_units_missing=len(units) - len(known) - len(commits),
        transform=record.transform,
        recent=[(landed_s[name], count) for name, count in rows.items()],
        damage=listed_damage(view) if view is not None and is_served else (),
    )


def _valid_commits(
    store: Store,
    record: EncodingRecord,
    generations: Sequence[Generation],
    refs: list[CommitRef],
    seen: dict[str, Commit] | None = None,
) -> list[Commit]:
    """Return the commits that a publisher would take."""
    seen = {} if seen is None else seen
    new = [ref for ref in refs if ref.name not in seen]
    seen.update(zip([ref.name for ref in new], map_ahead(store.read_commit, new), strict=True))
    digests = {each.number: each.digest for each in generations}
    return [
        commit
        for commit in (seen[ref.name] for ref in refs)
        if commit_mismatch(commit, record, digests.get(commit.generation, "")) is None
    ]


def unpublished_rejects(store: Store, column: str | None) -> list[dict[str, Any]]:
    """Return what was left out so far where no snapshot exists yet, as a quarantine's rows."""
    generations = store.generations()
    rows: list[dict[str, Any]] = []
    for generation in generations:
        rows += store.read_rejects(generation).to_pylist()
    for name in [column] if column else store.columns():
        for record in store.encodings(name):
            refs = list(store.commits(record).values())
            for commit in _valid_commits(store, record, generations, refs):
                if commit.num_rejected:
                    rows += _rejects_of(store, record, commit)
    return rows


def _rejects_of(store: Store, record: EncodingRecord, commit: Commit) -> list[dict[str, Any]]:
    unit = next(each for each in store.units(record) if each.unit == commit.unit_id)
    data = store.folder.read(commit.meta.name)
    meta = read_meta(data, first_row=unit.first_row, num_rows=unit.num_rows, where=commit.meta.name)
    planned = store.read_rows(unit, ["key", "path", "member"]).to_pylist()
    names = Reject.__dataclass_fields__
    return [
        planned[row - unit.first_row] | {name: getattr(reject, name) for name in names}
        for row, reject in meta.rejects
    ]
