"""A snapshot is whole or not there; publishing twice, at once or halfway changes nothing else."""

import itertools
import shutil
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from latentcache.core.errors import ShardCorruptError, StoreError
from latentcache.core.rejects import Reject
from latentcache.store.format.records import EncodingRecord, ObjectRef
from latentcache.store.rows.plan_tables import RETIRED_SCHEMA
from latentcache.store.snapshots import publish
from latentcache.store.snapshots.column_tables import ColumnChange
from latentcache.store.snapshots.numbers import Pin, pin_of, read_snapshot
from latentcache.store.snapshots.snapshot import Snapshot
from latentcache.store.snapshots.snapshot_tables import read_units
from latentcache.store.store import Store
from tests.store.plan_rows import draft_of, key_of, runs_of
from tests.store.small_store import (
    REJECTED,
    SQUARE,
    build,
    count,
    encoding_record,
    make_store,
    write_unit,
)
from tests.store.stopping import StoppedError, stopping

LATE = Reject(code="corrupt", stage="decode", reason="the decoder refuses the pixels")


def change_of(record: EncodingRecord) -> ColumnChange:
    return ColumnChange(record=record, merge_statistics=count)


def encode(
    store: Store, record: EncodingRecord, *, first: int = 0, last: int | None = None, rev: int = 0
) -> None:
    generations = store.generations()
    for unit in store.units(record)[first:last]:
        write_unit(store, record, generations[unit.generation], unit, rev=rev)


def pinned(store: Store, **changes: object) -> EncodingRecord:
    return store.write_encoding(encoding_record(**changes))


def retired_rows(*places: tuple[int, int]) -> pa.Table:
    rows = [{"shard": shard, "row": row, "reason": "deleted"} for shard, row in places]
    return pa.Table.from_pylist(rows, schema=RETIRED_SCHEMA)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "store")


@pytest.fixture
def complete(store: Store) -> Store:
    encode(store, encoding_record())
    return store


def objects(store: Store) -> dict[str, bytes]:
    return {info.name: store.folder.read(info.name) for info in store.folder.list()}


def test_the_sum_adds_up_and_every_reject_is_named(complete: Store) -> None:
    snapshot = complete.publish([change_of(encoding_record())])
    assert (snapshot.number, complete.snapshots()) == (1, [1])
    entry = snapshot.columns["latents"].entry
    assert entry.num_planned == 42
    assert entry.num_encoded == 41 - len(REJECTED)
    assert entry.num_quarantined == len(REJECTED) + 1
    assert entry.num_missing == 0
    rows = snapshot.columns["latents"].quarantine().to_pylist()
    assert [(row["shard"], row["row"]) for row in rows] == [(-1, 0), *sorted(REJECTED)]
    assert rows[0]["path"] == "empty.jpg"
    assert rows[0]["code"] == "empty"
    assert rows[1]["key"] == key_of(0, 3)
    assert rows[1]["stage"] == "decode"
    assert rows[1]["trace_digest"] == "0123456789abcdef"
    statistics = snapshot.columns["latents"].statistics()
    assert statistics["mean.first.count"] == entry.num_encoded
    tars = [unit.tar for unit in snapshot.columns["latents"].units()]
    assert tars.count(None) == 1
    assert entry.num_bytes == sum(tar.size_bytes for tar in tars if tar)


def test_publishing_again_changes_nothing(complete: Store) -> None:
    first = complete.publish([change_of(encoding_record())])
    before = objects(complete)
    again = complete.publish([change_of(encoding_record())])
    assert again.number == first.number
    assert objects(complete) == before


def test_a_column_with_missing_rows_is_refused_unless_partial(store: Store) -> None:
    record = encoding_record()
    encode(store, record, last=3)
    with pytest.raises(
        StoreError, match=r"must be complete, got .* rows missing in 5 units .*--partial"
    ):
        store.publish([change_of(record)])
    assert store.snapshots() == []
    partial = store.publish([change_of(record)], allow_partial=True).columns["latents"].entry
    assert (
        partial.num_planned == partial.num_encoded + partial.num_quarantined + partial.num_missing
    )
    assert partial.num_missing > 0
    encode(store, record, first=3)
    full = store.publish([change_of(record)])
    assert full.number == 2
    assert full.columns["latents"].entry.num_missing == 0


def tables_of(snapshot: Snapshot) -> tuple[object, ...]:
    view = snapshot.columns["latents"]
    entry = replace(view.entry, units=None, quarantine=None, statistics=None)
    return (entry, view.units(), view.quarantine(), view.statistics())


@pytest.mark.parametrize("order", [(0, 3, 8), (0, 1, 2, 8)])
def test_step_by_step_gives_what_one_step_gives(complete: Store, tmp_path: Path, order) -> None:
    """The same commits, appearing bit by bit."""
    steps = make_store(tmp_path / "steps")
    record = encoding_record()
    for info in complete.folder.list(f"encodings/latents/{record.fingerprint}"):
        if "/commits/" not in info.name:
            steps.folder.write(info.name, complete.folder.read(info.name))
    generation = steps.generations()[0]
    digests = {"generation_digest": generation.digest}
    refs = list(complete.commits(record).values())
    for first, last in itertools.pairwise(order):
        for ref in refs[first:last]:
            commit = replace(complete.read_commit(ref), **digests, digest="")
            steps.folder.write(ref.name, commit.to_bytes())
        stepped = steps.publish([change_of(record)], allow_partial=True)
    assert tables_of(stepped) == tables_of(complete.publish([change_of(record)]))


def test_merging_goes_on_from_the_parent_and_reads_only_what_is_new(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = encoding_record()
    encode(store, record, last=4)
    store.publish([change_of(record)], allow_partial=True)
    encode(store, record, first=4)
    read: list[str] = []
    original = type(store.folder).read

    def spy(folder, name: str, **options: int) -> bytes:
        read.append(name)
        return original(folder, name, **options)

    monkeypatch.setattr(type(store.folder), "read", spy)
    merged: list[int] = []

    def merge(parts: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        found = list(parts)
        merged.extend(int(part["mean.first.count"]) for part in found)
        return count(found)

    snapshot = store.publish([ColumnChange(record=record, merge_statistics=merge)])
    monkeypatch.undo()
    first_units = [str(unit.unit) for unit in store.units(record)[:4]]
    assert not [name for name in read if any(unit in name for unit in first_units)]
    assert len(merged) == 1 + 4
    assert sum(merged) == snapshot.columns["latents"].num_encoded


def test_a_repaired_unit_replaces_the_parents_choice_and_a_duplicate_does_not(
    complete: Store,
) -> None:
    record = encoding_record()
    first = complete.publish([change_of(record)])
    generation = complete.generations()[0]
    units = complete.units(record)
    for _ in range(6):  # one of them has a lower write id than the choice, almost surely
        write_unit(complete, record, generation, units[1])
    assert complete.publish([change_of(record)]).number == 1
    repaired = write_unit(complete, record, generation, units[0], rejected=(), rev=1)
    second = complete.publish([change_of(record)])
    assert second.number == 2
    before, after = first.columns["latents"].units(), second.columns["latents"].units()
    assert after[0].write_id == repaired.write_id
    assert after[1:] == before[1:]
    entry = second.columns["latents"].entry
    assert entry.num_quarantined == first.columns["latents"].entry.num_quarantined - 1
    assert second.columns["latents"].statistics()["mean.first.count"] == entry.num_encoded
    assert complete.snapshot(1).columns["latents"].units() == before


def test_a_swap_serves_the_other_encoding_and_leaves_the_old_snapshot(complete: Store) -> None:
    old = complete.publish([change_of(encoding_record())])
    other = pinned(complete, fingerprint="e" * 32, write_id="2" * 16)
    encode(complete, other)
    new = complete.publish([change_of(other)])
    assert new.columns["latents"].record == other
    assert complete.snapshot(old.number).columns["latents"].record == encoding_record()
    assert {record.fingerprint for record in complete.encodings("latents")} == {"e" * 32, "f" * 32}


def test_another_column_keeps_its_tables(complete: Store) -> None:
    first = complete.publish([change_of(encoding_record())])
    dino = pinned(complete, column="dino", fingerprint="d" * 32)
    encode(complete, dino)
    second = complete.publish([change_of(dino)])
    assert second.columns["latents"].entry == first.columns["latents"].entry
    assert set(second.columns) == {"latents", "dino"}


def publish_between(store: Store, theirs: ColumnChange, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another publisher win the number that ours is about to take."""
    original = type(store.folder).create_if_absent
    waiting = [theirs]

    def overtaken(folder, name: str, data: bytes, *, write_id: str) -> bool:
        if waiting:
            Store.open(store.folder.url).publish([waiting.pop()])
        return original(folder, name, data, write_id=write_id)

    monkeypatch.setattr(type(store.folder), "create_if_absent", overtaken)


def test_who_loses_a_number_applies_its_change_to_the_new_head(
    complete: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    dino = pinned(complete, column="dino", fingerprint="d" * 32)
    encode(complete, dino)
    publish_between(complete, change_of(dino), monkeypatch)
    ours = complete.publish([change_of(encoding_record())])
    monkeypatch.undo()
    assert ours.number == 2
    assert set(ours.columns) == {"latents", "dino"}
    parent = read_snapshot(complete.folder, 1)
    assert set(parent.columns) == {"dino"}
    assert ours.record.parent.digest == parent.digest


def test_what_a_plan_that_grew_meanwhile_retired_does_not_come_back(
    complete: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    dino = pinned(complete, column="dino", fingerprint="d" * 32)
    encode(complete, dino)
    grown = draft_of(runs_of((SQUARE, 3, 12), first_shard=5), retired=[retired_rows((0, 3))])
    original = type(complete.folder).create_if_absent
    waiting = [grown]

    def overtaken(folder, name: str, data: bytes, *, write_id: str) -> bool:
        if waiting and name.startswith("snapshots/"):
            theirs = Store.open(complete.folder.url)
            theirs.write_generation(waiting.pop())
            encode(theirs, dino, first=len(theirs.units(dino)) - 1)
            theirs.publish([change_of(dino)])
        return original(folder, name, data, write_id=write_id)

    monkeypatch.setattr(type(complete.folder), "create_if_absent", overtaken)
    with pytest.raises(StoreError, match="'latents' must be complete, got 3 of"):
        complete.publish([change_of(encoding_record())])
    ours = complete.publish([change_of(encoding_record())], allow_partial=True)
    assert len(ours.record.generations) == 2
    fewer = replace(ours.record, number=9, generations=ours.record.generations[:1])
    complete.folder.write("snapshots/9.json", fewer.to_bytes())
    with pytest.raises(StoreError, match=r"must name all generations .* got 1 where"):
        complete.snapshot()
    for view in ours.columns.values():
        assert key_of(0, 3) not in {key for key, *_ in view.iter_samples()}


def test_the_same_column_changed_meanwhile_is_refused_naming_both(
    complete: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = pinned(complete, fingerprint="e" * 32, write_id="2" * 16)
    encode(complete, other)
    publish_between(complete, change_of(other), monkeypatch)
    with pytest.raises(StoreError, match=f"{'e' * 32} in snapshot 1 .* {'f' * 32}"):
        complete.publish([change_of(encoding_record())])
    monkeypatch.undo()
    assert complete.snapshots() == [1]
    assert complete.publish([change_of(encoding_record())], base=1).number == 2
    with pytest.raises(StoreError, match="must not change while it is published"):
        complete.publish([change_of(other)], base=1)


def test_two_publishers_of_one_encoding_agree(
    complete: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_between(complete, change_of(encoding_record()), monkeypatch)
    ours = complete.publish([change_of(encoding_record())])
    assert ours.number == 1
    assert complete.snapshots() == [1]


def test_many_publishers_at_once_lose_nothing(complete: Store) -> None:
    columns = [f"column_{number}" for number in range(6)]
    changes = []
    for column in columns:
        record = pinned(complete, column=column)
        encode(complete, record)
        changes.append(change_of(record))
    threads = [threading.Thread(target=complete.publish, args=([change],)) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert complete.snapshots() == [1, 2, 3, 4, 5, 6]
    assert set(complete.snapshot().columns) == set(columns)
    chain = [read_snapshot(complete.folder, number) for number in range(1, 7)]
    for parent, child in itertools.pairwise(chain):
        assert child.parent.digest == parent.digest
        assert set(parent.columns) < set(child.columns)


@pytest.mark.parametrize("lands", [False, True])
def test_stopping_at_every_write_leaves_the_old_snapshot_or_the_new_one(
    tmp_path: Path, lands: bool
) -> None:
    old = build(tmp_path / "store")
    store = Store.open(tmp_path / "store")
    generation, record = store.generations()[0], encoding_record()
    write_unit(store, record, generation, store.units(record)[0], rejected=(), rev=1)
    expected = None
    for writes in range(10):
        try:
            new = stopping(store, writes, lands=lands).publish([change_of(record)])
        except StoppedError:
            new = store.snapshot()
            assert new.number in (1, 2)
            if new.number == 1:
                assert tables_of(new) == tables_of(old)
                assert store.snapshots() == [1]
                continue
        expected = expected or tables_of(new)
        assert tables_of(new) == expected
        assert store.publish([change_of(record)]).number == 2
        return
    raise AssertionError("publishing never ended")


def test_a_commit_without_its_objects_is_passed_over(complete: Store) -> None:
    record = encoding_record()
    units, generation = complete.units(record), complete.generations()[0]
    spare = write_unit(complete, record, generation, units[0])
    best = complete.read_commit(complete.commits(record)[units[0].unit])
    complete.folder.delete([best.meta.name])
    if best.write_id != spare.write_id:
        entry = complete.publish([change_of(record)]).columns["latents"].units()[0]
        assert entry.write_id == spare.write_id
    lone = complete.read_commit(complete.commits(record)[units[-1].unit])
    complete.folder.write(lone.tar.name, b"short")
    store = Store.open(complete.folder.url)
    for number in store.snapshots():
        store.folder.delete([f"snapshots/{number}.json"])
    with pytest.raises(StoreError, match=r"rows missing in 1 units .* has 5 bytes, not"):
        store.publish([change_of(record)])


def test_a_commit_of_another_plan_or_encoding_is_never_served(complete: Store) -> None:
    record = encoding_record()
    ref = next(iter(complete.commits(record).values()))
    commit = complete.read_commit(ref)
    for change in ({"encoding_digest": "0" * 64}, {"generation_digest": "0" * 64}):
        wrong = replace(commit, **change, digest="")
        complete.folder.write(ref.name, wrong.to_bytes())
        with pytest.raises(StoreError, match=r"rows missing in 1 units .*000000000000, not"):
            complete.publish([change_of(record)])
    complete.folder.write(ref.name, b"{}")
    with pytest.raises(StoreError, match="rows missing in 1 units"):
        complete.publish([change_of(record)])


def test_a_damaged_meta_or_table_stops_the_publisher(complete: Store) -> None:
    record = encoding_record()
    first = complete.publish([change_of(record)])
    generation, units = complete.generations()[0], complete.units(record)
    repaired = write_unit(complete, record, generation, units[0], rev=1)
    data = bytearray(complete.folder.read(repaired.meta.name))
    data[-1] ^= 1
    complete.folder.write(repaired.meta.name, bytes(data))
    with pytest.raises(ShardCorruptError, match="SHA-256"):
        complete.publish([change_of(record)])
    table = first.columns["latents"].entry.units
    complete.folder.write(table.name, b"x" * table.size_bytes)
    with pytest.raises(ShardCorruptError, match="table must have"):
        complete.publish([change_of(record)])


def test_retired_rows_are_neither_planned_nor_encoded(complete: Store) -> None:
    record = encoding_record()
    complete.publish([change_of(record)])
    gone = [(0, 3), (0, 4), (1, 9), (3, 0)]
    retired = retired_rows(*gone)
    more = runs_of((SQUARE, 3, 12), first_shard=5)
    complete.write_generation(draft_of(more, retired=[retired]))
    encode(complete, record, first=len(complete.units(record)) - 1)
    entry = complete.publish([change_of(record)]).columns["latents"].entry
    assert entry.num_generations == 2
    assert entry.num_planned == 42 + 3 - 4
    assert entry.num_encoded == 41 - len(REJECTED) + 3 - 2
    assert entry.num_quarantined == len(REJECTED) + 1 - 2
    assert entry.num_missing == 0
    view = complete.snapshot().columns["latents"]
    places = {(row["shard"], row["row"]) for row in view.quarantine().to_pylist()}
    assert places == ({(-1, 0)} | REJECTED) - set(gone)


def test_annotations_are_published_by_snapshot(complete: Store) -> None:
    change, generation = change_of(encoding_record()), complete.generations()[0]
    captions = pa.table({"shard": [0, 1], "row": [2, 0], "value": ["a cat", "a dog"]})
    complete.write_annotations(generation, "caption", [captions])
    first = complete.publish([change])
    (entry,) = first.record.annotations["caption"]
    assert complete.folder.stat(entry.name).size_bytes == entry.size_bytes
    assert complete.publish([change]).number == 1
    complete.write_annotations(generation, "caption", [captions])
    second = complete.publish([])
    assert second.number == 2
    assert second.record.annotations["caption"][0].name != entry.name
    assert second.columns["latents"].entry == first.columns["latents"].entry


def test_statistics_of_any_shape_and_dtype_come_back_exactly(complete: Store) -> None:
    draw = np.random.default_rng(0)
    arrays = {
        "scalar": np.float64(1e-300),
        "empty": np.zeros((0, 3), np.float32),
        "counts": draw.integers(0, 2**63 - 1, (3, 4), np.int64),
        "bins": np.arange(7, dtype=np.uint32),
        "big_endian": np.arange(5, dtype=">f8"),
        "strange": np.array([np.nan, np.inf, -0.0, 5e-324]),
        "strided": draw.normal(size=(6, 8))[::2, ::3],
    }

    def merge(parts: Iterable[Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
        list(parts)
        return arrays

    change = ColumnChange(record=encoding_record(), merge_statistics=merge)
    found = complete.publish([change]).columns["latents"].statistics()
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].astype(array.dtype).tobytes() == np.ascontiguousarray(array).tobytes()


def test_a_pin_means_one_snapshot_of_one_store(complete: Store, tmp_path: Path) -> None:
    snapshot = complete.publish([change_of(encoding_record())])
    pin = pin_of(snapshot.record)
    assert Pin.parse(str(pin)) == pin
    assert complete.pinned_snapshot(pin).number == 1
    other = build(tmp_path / "other")
    with pytest.raises(StoreError, match=f"snapshot must be {pin}, got {pin_of(other.record)}"):
        Store.open(tmp_path / "other").pinned_snapshot(pin)
    with pytest.raises(ValueError, match="pin must be"):
        Pin.parse("latest")


def test_a_publisher_that_always_loses_ends_with_a_sentence(
    complete: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "MAX_ATTEMPTS", 3)
    monkeypatch.setattr(type(complete.folder), "create_if_absent", lambda *_, **__: False)
    with pytest.raises(StoreError, match="must get a number within 3 attempts"):
        complete.publish([change_of(encoding_record())])


def test_the_units_table_names_every_object_with_its_checksum(complete: Store) -> None:
    snapshot = complete.publish([change_of(encoding_record())])
    for entry in read_units(complete.folder, snapshot.columns["latents"].entry.units):
        for ref in (entry.tar, entry.meta):
            if isinstance(ref, ObjectRef):
                assert complete.folder.stat(ref.name).size_bytes == ref.size_bytes


def test_a_record_that_is_not_what_its_name_says_is_refused(complete: Store) -> None:
    complete.publish([change_of(encoding_record())])
    root = Path(complete.folder.url)
    (root / "snapshots" / "2.json").write_bytes((root / "snapshots" / "1.json").read_bytes())
    for number in (None, 2):
        with pytest.raises(StoreError, match=r"must be 2 as its name says, got 1 \(snapshots/2"):
            complete.snapshot(number)
    assert complete.snapshot(1).number == 1
    folder = root / "encodings" / "latents"
    shutil.copytree(folder / ("f" * 32), folder / ("e" * 32))
    with pytest.raises(StoreError, match=f"must be {'e' * 32} of latents as its folder says"):
        complete.encodings("latents")
