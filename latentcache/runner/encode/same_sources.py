"""One store, one set of files: whether a column was made of the bytes that the others were.

Every unit's meta keeps the digest of each row's file. A picture that was replaced between two
encodings would give one sample two different pictures, so such a column is not served.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from latentcache.core.errors import StoreError
from latentcache.core.units import UnitRange
from latentcache.storage import map_ahead
from latentcache.store import CommitRef, EncodingRecord, Store, UnitEntry
from latentcache.store.format import SOURCE_DIGEST_BYTES, read_meta

Rows = npt.NDArray[Any]


def changed_rows(store: Store, record: EncodingRecord) -> list[tuple[UnitRange, Rows]]:
    """Return the committed units of an encoding that hold rows of other bytes, and these rows.

    Compared with the other columns of the newest snapshot, wherever both digests are known. An
    encoding that this snapshot serves was compared when it came in.
    """
    views = store.snapshot().columns if store.snapshots() else {}
    served = views.get(record.column)
    if served is not None and served.record.fingerprint == record.fingerprint:
        return []
    known: dict[int, list[UnitEntry]] = {}
    for view in views.values():
        for entry in view.units():
            known.setdefault(entry.unit.unit.shard, []).append(entry)
    units = {unit.unit: unit for unit in store.units(record)}
    committed = [
        (units[unit], ref)
        for unit, ref in store.commits(record).items()
        if unit in units and unit.shard in known
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
            theirs = _digests(store, entry.unit, entry.meta.name)
            one = ours[start - unit.first_row : stop - unit.first_row]
            other = theirs[start - entry.unit.first_row : stop - entry.unit.first_row]
            are_known = one.any(axis=1) & other.any(axis=1)
            differ = are_known & (one != other).any(axis=1)
            is_changed[start - unit.first_row : stop - unit.first_row] |= differ
        return np.flatnonzero(is_changed)

    found = zip(committed, map_ahead(compared, committed), strict=True)
    return [(unit, rows) for (unit, _), rows in found if len(rows)]


def check_same_sources(store: Store, record: EncodingRecord) -> None:
    """Refuse to serve a column that was made of other files than the columns beside it.

    Raises:
        StoreError: Some are; the first are named.
    """
    changed = changed_rows(store, record)
    if not changed:
        return
    num_rows = sum(len(rows) for _, rows in changed)
    shown = ", ".join(name for _, name in zip(range(3), _names(store, changed), strict=False))
    raise StoreError(
        f"column {record.column} must be made of the files that the other columns were made of, "
        f"got {num_rows:,} samples whose bytes are others now (e.g. {shown}); put the old files "
        "back and run it again, or build the changed corpus into another store"
    )


def _names(store: Store, changed: Sequence[tuple[UnitRange, Rows]]) -> Iterator[str]:
    for unit, rows in changed:
        table = store.read_rows(unit, ["path", "member"]).take(rows).to_pylist()
        yield from (f"{row['path']}!{row['member']}".removesuffix("!") for row in table)


def _digests(store: Store, unit: UnitRange, name: str) -> npt.NDArray[np.uint8]:
    meta = read_meta(
        store.folder.read(name), first_row=unit.first_row, num_rows=unit.num_rows, where=name
    )
    digests: npt.NDArray[np.uint8] = np.asarray(meta.source_digest, np.uint8)
    return digests.reshape(-1, SOURCE_DIGEST_BYTES)
