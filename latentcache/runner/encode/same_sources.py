"""One store, one set of files: whether a column was made of the bytes that the others were.

Every unit's meta keeps the digest of each row's file. A picture that was replaced between two
encodings would give one sample two different pictures, so such a column is not served, or such
samples are retired from the plan, which takes them out of every column.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from latentcache.core.errors import ShardCorruptError, StoreError
from latentcache.core.findings import MAX_EXAMPLES
from latentcache.core.inputs import parse_input, recorded_input
from latentcache.core.units import UnitRange
from latentcache.runner.retiring import retire_rows
from latentcache.runner.run_progress import Reporter
from latentcache.storage import map_ahead
from latentcache.store import (
    ColumnView,
    CommitRef,
    EncodingRecord,
    Store,
    UnitEntry,
)
from latentcache.store.format import SOURCE_DIGEST_BYTES, read_meta
from latentcache.store.rows import retired_table
from latentcache.store.snapshots import PlanView

Rows = npt.NDArray[Any]

_REASON = "its file was replaced between two encodings"


def changed_rows(store: Store, record: EncodingRecord) -> list[tuple[UnitRange, Rows]]:
    """Return the committed units of an encoding that hold live rows of other bytes, and which.

    Compared with the other columns of the newest snapshot, wherever both digests are known. A unit
    that this snapshot serves was compared when it came in.
    """
    views = dict(store.snapshot().columns) if store.snapshots() else {}
    served = views.get(record.column)
    if served is not None and served.record.fingerprint == record.fingerprint:
        del views[record.column]
    else:
        served = None
    return _differing(store, record, views.values(), served)


def remade_rows(store: Store, record: EncodingRecord) -> list[tuple[UnitRange, Rows]]:
    """Return the units of a served encoding that were made again, and which rows of other bytes."""
    served = store.snapshot().columns.get(record.column) if store.snapshots() else None
    if served is None or served.record.fingerprint != record.fingerprint:
        return []
    return _differing(store, record, [served], served)


def _differing(
    store: Store, record: EncodingRecord, views: Iterable[ColumnView], served: ColumnView | None
) -> list[tuple[UnitRange, Rows]]:
    """Return the units that ``served`` does not serve yet and that differ from ``views``."""
    plan = PlanView.read(store.folder, store.generations())
    known: dict[int, list[UnitEntry]] = {}
    for view in views:
        if not parse_input(recorded_input(view.record.transform)).is_of_sample:
            continue  # a digest of a text, or of another medium, tells nothing about these files
        for entry in view.units():
            known.setdefault(entry.unit.unit.shard, []).append(entry)
    mine = served.units() if served is not None else ()
    chosen = {entry.unit.unit: entry.rev for entry in mine}
    units = {unit.unit: unit for unit in store.units(record)}
    committed = [
        (units[unit], ref)
        for unit, ref in store.commits(record).items()
        if unit in units and unit.shard in known and ref.rev > chosen.get(unit, -1)
    ]

    def compared(each: tuple[UnitRange, CommitRef]) -> Rows:
        unit, ref = each
        ours = _digests(store, unit, store.read_commit(ref).meta.name)
        is_changed = np.zeros(unit.num_rows, bool)
        for entry in known[unit.unit.shard]:
            start = max(unit.first_row, entry.unit.first_row)
            stop = min(unit.first_row + unit.num_rows, entry.unit.first_row + entry.unit.num_rows)
            if start >= stop:
                continue
            theirs = _known_digests(store, entry)
            one = ours[start - unit.first_row : stop - unit.first_row]
            other = theirs[start - entry.unit.first_row : stop - entry.unit.first_row]
            are_known = one.any(axis=1) & other.any(axis=1)
            differ = are_known & (one != other).any(axis=1)
            is_changed[start - unit.first_row : stop - unit.first_row] |= differ
        is_changed[plan.retired_rows(unit) - unit.first_row] = False
        return np.flatnonzero(is_changed)

    found = zip(committed, map_ahead(compared, committed), strict=True)
    return [(unit, rows) for (unit, _), rows in found if len(rows)]


def settle_changed(
    store: Store, record: EncodingRecord, *, may_retire: bool, reporter: Reporter
) -> int:
    """Return how many samples of replaced files were retired.

    Args:
        store: Where the column is about to be served.
        record: Its encoding.
        may_retire: Take samples of other files than the columns beside it out of the plan.
        reporter: Told of them.

    Raises:
        StoreError: Some are of other files, and may not be retired; the first are named.
    """
    if remade := remade_rows(store, record):
        reporter.message(f"encoded anew from other files than before: {_told(store, remade)}")
    changed = changed_rows(store, record)
    if not changed:
        return 0
    num_rows = sum(len(rows) for _, rows in changed)
    told = _told(store, changed)
    if not may_retire:
        raise StoreError(
            f"column {record.column} must be made of the files that the other columns were made "
            f"of, got {told}; put the old files back and run it again, leave these samples out of "
            "every column with --changed retire, or plan the changed files anew with build --update"
        )
    num_live = PlanView.read(store.folder, store.generations()).num_rows
    if num_rows == num_live:
        raise StoreError(
            f"some samples must be of the files that the other columns were made of, got {told}, "
            f"which is all of them; build this corpus into another store"
        )
    _retire(store, changed)
    reporter.message(f"retired from every column: {told}")
    return num_rows


def _told(store: Store, changed: Sequence[tuple[UnitRange, Rows]]) -> str:
    num_rows = sum(len(rows) for _, rows in changed)
    shown = ", ".join(_names(store, changed))
    return f"{num_rows:,} samples whose bytes are others now (e.g. {shown})"


def _retire(store: Store, changed: Sequence[tuple[UnitRange, Rows]]) -> None:
    retired = retired_table(
        (unit.unit.shard, row, _REASON)
        for unit, rows in changed
        for row in (rows + unit.first_row).tolist()
    )
    finding = {"kind": "picture_changed", "count": len(retired), "examples": _names(store, changed)}
    retire_rows(store, retired, finding)


def _names(store: Store, changed: Sequence[tuple[UnitRange, Rows]]) -> list[str]:
    """Return the first sources."""
    named: list[str] = []
    for unit, rows in changed[:MAX_EXAMPLES]:
        table = store.read_rows(unit, ["path", "member"]).take(rows).to_pylist()
        named += (f"{row['path']}!{row['member']}".removesuffix("!") for row in table)
    return named[:MAX_EXAMPLES]


def _known_digests(store: Store, entry: UnitEntry) -> npt.NDArray[np.uint8]:
    """Return the digests of a served unit; zeros, which is unknown, where its meta is damaged."""
    try:
        return _digests(store, entry.unit, entry.meta.name)
    except (ShardCorruptError, FileNotFoundError):
        return np.zeros((entry.unit.num_rows, SOURCE_DIGEST_BYTES), np.uint8)


def _digests(store: Store, unit: UnitRange, name: str) -> npt.NDArray[np.uint8]:
    meta = read_meta(
        store.folder.read(name), first_row=unit.first_row, num_rows=unit.num_rows, where=name
    )
    digests: npt.NDArray[np.uint8] = np.asarray(meta.source_digest, np.uint8)
    return digests.reshape(-1, SOURCE_DIGEST_BYTES)
