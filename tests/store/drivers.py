"""What writers of one store do, as the runner does it: build, encode, publish, grow, compact, gc.

The corpus is 7 rows in 4 units, some of which cannot be encoded, and 2 more after it has grown.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from latentcache.core.errors import StoreError
from latentcache.core.units import UnitRange
from latentcache.storage import Folder
from latentcache.store.compaction import clear_values, copy_unit, find_held
from latentcache.store.format.records import EncodingRecord
from latentcache.store.garbage import collect_garbage
from latentcache.store.rows.plan_draft import GenerationDraft
from latentcache.store.rows.plan_tables import retired_table
from latentcache.store.snapshots.column_tables import ColumnChange
from latentcache.store.store import Store
from latentcache.store.verification import verify_snapshot
from tests.store.plan_rows import draft_of, reject_table, runs_of
from tests.store.small_store import SQUARE, WIDE, count, encoding_record, write_unit

RUNS = runs_of((SQUARE, 5, 4), (WIDE, 2, 4))
GROWN = runs_of((SQUARE, 2, 4), first_shard=3)
REJECTED = frozenset({(0, 1), (2, 0), (2, 1), (3, 1)})
RETIRED = ((0, 2, "taken_down"), (2, 1, "taken_down"))
NUM_PLANNED = (7 + 1, 7 + 1 + 2 - len(RETIRED))
"""Live rows and refused samples of the plan, before and after it has grown."""


def first_plan() -> GenerationDraft:
    captions = [pa.table({"shard": [0, 0, 1], "row": [0, 2, 0], "value": ["a", "b", "c"]})]
    return draft_of(RUNS, rejects=[reject_table("empty.jpg")], annotations={"caption": captions})


def grown_plan() -> GenerationDraft:
    return draft_of(GROWN, retired=[retired_table(RETIRED)])


def opened(folder: Folder) -> Store:
    return Store._open(folder) or Store._create(folder)


def newest(store: Store) -> int:
    return max(store.snapshots(), default=0)


def pinned(store: Store, column: str, fingerprint: str) -> EncodingRecord:
    record = encoding_record(column=column, fingerprint=fingerprint * 32, rows_per_unit=2)
    return store.write_encoding(record.with_write_id_of_content())


def encode(store: Store, record: EncodingRecord, unit: UnitRange, rev: int = 0) -> None:
    generation = store.generations()[unit.generation]
    write_unit(store, record, generation, unit, rejected=REJECTED, rev=rev)


def encode_missing(store: Store, record: EncodingRecord) -> None:
    committed = store.commits(record)
    for unit in store.units(record):
        if unit.unit not in committed:
            encode(store, record, unit)


def publish(store: Store, record: EncodingRecord, base: int, *, partial: bool = False) -> object:
    change = ColumnChange(record=record, merge_statistics=count)
    return store.publish([change], allow_partial=partial, base=base).record


def build(folder: Folder, column: str, fingerprint: str) -> object:
    """Return the snapshot record that a whole run published."""
    store = opened(folder)
    if not store.generations():
        store.write_generation(first_plan())
    base = newest(store)
    record = pinned(store, column, fingerprint)
    encode_missing(store, record)
    try:
        return publish(store, record, base)
    except StoreError as error:
        if "must be complete" not in str(error):
            raise
    units = {unit.unit: unit for unit in store.units(record)}
    for name, rev in store.unservable_units(record).items():
        encode(store, record, units[name], rev)
    encode_missing(store, record)
    return publish(store, record, base)


def publish_partial(folder: Folder, column: str, fingerprint: str) -> object:
    """Publish what there is."""
    store = opened(folder)
    base = newest(store)
    return publish(store, pinned(store, column, fingerprint), base, partial=True)


def encode_again(folder: Folder, column: str, fingerprint: str) -> object:
    """Commit every unit once more, one revision up."""
    store = opened(folder)
    record = pinned(store, column, fingerprint)
    revs = {unit: ref.rev + 1 for unit, ref in store.commits(record).items()}
    for unit in store.units(record):
        encode(store, record, unit, revs.get(unit.unit, 0))
    return None


def grow(folder: Folder, column: str, fingerprint: str) -> object:
    """Plan the rows that came since, and take some out; then build."""
    store = opened(folder)
    if len(store.generations()) == 1:
        store.write_generation(grown_plan())
    return build(folder, column, fingerprint)


def compact(folder: Folder, column: str, fingerprint: str) -> object:
    """Write again what holds rows that were taken out."""
    store = opened(folder)
    held = find_held(store)
    if held.broken:
        raise StoreError(held.broken[0])
    for each in held.units:
        copy_unit(store, each, _recount)
    for values in held.values:
        clear_values(store, values)
    columns = store.snapshot().columns.values() if store.snapshots() else ()
    changes = [ColumnChange(record=view.record, merge_statistics=count) for view in columns]
    return store.publish(changes, allow_partial=True).record if changes else None


def _recount(record, unit, samples, meta) -> dict[str, np.ndarray]:
    del record, unit, meta
    return {"mean.first.count": np.array(sum(1 for _ in samples), np.int64)}


def gc(folder: Folder, column: str, fingerprint: str) -> object:
    """Delete what is old and unnamed."""
    return collect_garbage(opened(folder), dry_run=False)


def retire(folder: Folder, column: str, fingerprint: str) -> object:
    """Give up all snapshots but the newest."""
    store = opened(folder)
    return collect_garbage(store, retire=store.snapshots()[:-1], dry_run=False)


def read(folder: Folder, column: str, fingerprint: str) -> object:
    """Verify the newest snapshot: who began to read within the grace finishes."""
    store = opened(folder)
    if not store.snapshots():
        return None
    return verify_snapshot(store.snapshot())


DRIVERS: dict[str, Callable[[Folder, str, str], object]] = {
    each.__name__: each
    for each in (build, publish_partial, encode_again, grow, compact, gc, retire, read)
}
