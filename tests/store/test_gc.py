"""Nothing that anybody can still read or publish is ever deleted, and the rest is, in time."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcache.core.errors import StoreError
from latentcache.storage import Folder
from latentcache.store.format.object_names import parse_snapshot_name, parse_unit_object
from latentcache.store.format.records import EncodingRecord
from latentcache.store.free_encoding import free_encoding
from latentcache.store.garbage import GRACE_S, GcReport, collect_garbage
from latentcache.store.rows.annotations import list_annotations, write_annotations
from latentcache.store.snapshots.column_tables import ColumnChange
from latentcache.store.snapshots.snapshot import Snapshot
from latentcache.store.store import Store
from tests.store.drivers import first_plan
from tests.store.small_store import build, count, encoding_record, make_store, write_unit
from tests.store.stopping import StoppedError, stopping

OTHER = {"fingerprint": "e" * 32, "write_id": "2" * 16}


def change_of(record: EncodingRecord) -> ColumnChange:
    return ColumnChange(record=record, merge_statistics=count)


def names(store: Store) -> set[str]:
    return {info.name for info in store.folder.list(with_temporary=True)}


def later(store: Store, graces: float = 1.5) -> float:
    """Return a time that many graces after now."""
    return store.folder.now_s() + graces * GRACE_S


def collect(store: Store, **options: object) -> GcReport:
    return collect_garbage(store, **{"dry_run": False, "now_s": later(store), **options})


def read_all(snapshot: Snapshot) -> list[str]:
    """Read every object that a snapshot names and return the samples' keys."""
    found = []
    for view in snapshot.columns.values():
        view.quarantine()
        view.statistics()
        found += [key for key, *_ in view.iter_samples()]
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    build(tmp_path / "store")
    return Store.open(tmp_path / "store")


def encode(store: Store, record: EncodingRecord, *, rev: int = 0, last: int | None = None) -> None:
    (generation,) = store.generations()
    for unit in store.units(record)[:last]:
        write_unit(store, record, generation, unit, rev=rev)


def test_a_store_without_garbage_loses_nothing(store: Store) -> None:
    before = names(store)
    report = collect(store, now_s=later(store, 100))
    assert report.deleted == ()
    assert len(report.waiting) == 0
    assert report.num_kept == len(before)
    assert names(store) == before


def test_captions_of_a_draft_that_never_became_the_plan_go(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    generation = store.write_generation(first_plan())
    store.write_generation(first_plan())  # drafted by another run meanwhile
    values = pa.table({"shard": [0], "row": [0], "value": ["never named"]})
    killed = replace(generation, number=1, parent=generation.digest)
    write_annotations(store.folder, killed, "caption", [values])
    write_annotations(store.folder, generation, "caption", [values.set_column(2, "value", [["x"]])])
    assert [file.rev for file in list_annotations(store.folder)] == [0, 1, 2, 3]
    collect(store, now_s=store.folder.now_s())
    assert len(list_annotations(store.folder)) == 4
    collect(store)
    assert [file.rev for file in list_annotations(store.folder)] == [0, 3]


def test_a_dry_run_is_the_default_and_touches_nothing(store: Store) -> None:
    encode(store, encoding_record())  # duplicates of what is served
    before = names(store)
    report = collect_garbage(store, now_s=later(store))
    assert report.is_dry_run
    assert report.num_bytes > 0
    assert report.by_kind() == {"encodings": len(report.deleted)}
    assert names(store) == before


def test_duplicates_of_served_units_go_and_the_served_stay(store: Store) -> None:
    before = names(store)
    encode(store, encoding_record())
    report = collect(store)
    assert names(store) == before
    assert report.deleted
    commits = [info for info in report.deleted if "/commits/" in info.name]
    assert list(report.deleted[: len(commits)]) == commits
    assert read_all(store.snapshot())


def test_what_is_younger_than_the_grace_waits(store: Store) -> None:
    encode(store, encoding_record())
    before = names(store)
    report = collect(store, now_s=None)
    assert report.deleted == ()
    assert len(report.waiting) > 0
    assert names(store) == before


def test_unpublished_commits_of_a_kept_encoding_stay(store: Store) -> None:
    other = store.write_encoding(encoding_record(**OTHER))
    encode(store, other)
    encode(store, encoding_record(), rev=1)
    before = names(store)
    collect(store, now_s=later(store, 100))
    assert names(store) == before
    assert store.publish([change_of(other)]).number == 2
    assert store.publish([change_of(encoding_record())]).number == 3


def test_uploads_without_a_commit_and_half_written_files_go(store: Store) -> None:
    before = names(store)
    folder = f"encodings/latents/{'f' * 32}"
    store.folder.write(f"{folder}/shards/00000000-0000.0.{'9' * 16}.tar", b"x")
    store.folder.write(f"{folder}/meta/00000000-0000.0.{'9' * 16}.safetensors", b"x")
    store.folder.write(f"snapshots/9.latents-units.{'9' * 16}.parquet", b"x")
    store.folder.write(f"plan/0/part-00007.{'9' * 16}.parquet", b"x")
    (store.folder.local_path("plan") / ".tmp.0123").write_bytes(b"x")
    assert collect(store).by_kind() == {"encodings": 2, "snapshots": 1, "plan": 2}
    assert names(store) == before


def test_what_the_format_does_not_know_is_left_alone(store: Store) -> None:
    for name in ("notes.txt", "snapshots/mine.parquet", f"encodings/latents/{'f' * 32}/a.tar"):
        store.folder.write(name, b"x")
    before = names(store)
    assert collect(store, now_s=later(store, 100)).deleted == ()
    assert names(store) == before


def test_a_retired_snapshots_data_goes_a_grace_later(store: Store) -> None:
    record, (generation,) = encoding_record(), store.generations()
    old = store.snapshot()
    first = old.columns["latents"].units()[0]
    write_unit(store, record, generation, store.units(record)[0], rev=1)
    new = store.publish([change_of(record)])
    before = names(store)
    report = collect(store, retire=[1])
    assert (report.retired, report.deleted) == ((1,), ())
    assert store.snapshots() == [2]
    assert names(store) == (before - {"snapshots/1.json"}) | {"snapshots/1.retired.json"}
    assert read_all(old)  # whoever has it open goes on reading
    assert collect(store, retire=[1], now_s=None).deleted == ()
    report = collect(store)
    gone = {info.name for info in report.deleted}
    assert {first.tar.name, first.meta.name, "snapshots/1.retired.json"} <= gone
    assert old.columns["latents"].entry.units.name in gone
    assert report.deleted[-1].name == "snapshots/1.retired.json"
    assert read_all(store.snapshot()) == read_all(new)


def test_what_a_fresh_tombstone_names_stays_however_old_it_is(store: Store) -> None:
    (generation,), record = store.generations(), encoding_record()
    old = store.snapshot()
    for unit in store.units(record):
        write_unit(store, record, generation, unit, rev=1)
    store.publish([change_of(record)])
    long_ago = store.folder.now_s() - 10 * GRACE_S
    for name in names(store):
        os.utime(store.folder.local_path(name), (long_ago, long_ago))
    for retire in ([1], [1], []):
        assert collect(store, retire=retire, now_s=None).deleted == ()
    assert store.snapshots() == [2]
    assert read_all(old)


def test_the_newest_snapshot_and_one_that_is_not_there_cannot_be_retired(store: Store) -> None:
    with pytest.raises(StoreError, match="must not be the newest, got 1"):
        collect(store, retire=[1])
    with pytest.raises(StoreError, match=r"must be one of \[1\], got 7"):
        collect(store, retire=[7])


def test_a_dropped_encoding_goes_and_one_that_is_served_is_refused(store: Store) -> None:
    other = store.write_encoding(encoding_record(**OTHER))
    encode(store, other, last=3)
    before = names(store)
    with pytest.raises(StoreError, match="must not be served, got ffffffffffff which snapshot 1"):
        collect(store, drop=[("latents", "e" * 32), ("latents", "f" * 32)])
    assert names(store) == before
    collect(store, drop=[("latents", "e" * 32)])
    assert [record.fingerprint for record in store.encodings("latents")] == ["f" * 32]
    assert not [name for name in names(store) if "e" * 32 in name]
    assert read_all(store.snapshot())


def test_a_swapped_out_encoding_stays_until_it_is_dropped_and_retired(store: Store) -> None:
    other = store.write_encoding(encoding_record(**OTHER))
    encode(store, other)
    store.publish([change_of(other)])
    with pytest.raises(StoreError, match="snapshot 1 serves as column latents"):
        collect(store, drop=[("latents", "f" * 32)])
    assert read_all(store.snapshot(1))
    collect(store, retire=[1])
    collect(store)
    assert store.commits(encoding_record())
    collect(store, drop=[("latents", "f" * 32)])
    assert not [name for name in names(store) if "f" * 32 in name]
    assert read_all(store.snapshot(2))


def test_freeing_an_encoding_is_one_word(store: Store) -> None:
    other = store.write_encoding(encoding_record(**OTHER))
    encode(store, other)
    with pytest.raises(StoreError, match="must not be served, got ffffffffffff which snapshot 1"):
        free_encoding(store, encoding_record(), dry_run=False)
    store.publish([change_of(other)])
    before = names(store)
    with pytest.raises(StoreError, match="a run may be at work on it"):
        free_encoding(store, encoding_record(), dry_run=False)
    told = free_encoding(store, encoding_record(), quiet_s=0)
    assert (told.is_dry_run, told.retired, names(store)) == (True, (1,), before)
    done = free_encoding(store, encoding_record(), dry_run=False, quiet_s=0)
    assert done.deleted == told.deleted
    assert not [name for name in names(store) if "f" * 32 in name]
    assert store.snapshots() == [2]
    assert collect(store).deleted  # the tables of the retired snapshot
    assert read_all(store.snapshot())


def test_a_try_that_never_finished_a_unit_may_be_taken_up_while_gc_runs(store: Store) -> None:
    tried = store.write_encoding(encoding_record(**OTHER))
    orphan = f"encodings/latents/{'f' * 32}/meta/00000000-0000.9.{'0' * 16}.safetensors"
    store.folder.write(orphan, b"")
    original = type(store.folder).delete

    def overtaken(folder: Folder, names: Sequence[str]) -> None:
        if orphan in names:  # as late as can be: nothing is listed after this
            encode(store, tried)
        original(folder, names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(store.folder), "delete", overtaken)
        collect(store)
    assert read_all(store.publish([change_of(tried)]))
    collect(store)
    assert len(store.encodings("latents")) == 2


def test_a_try_that_never_finished_a_unit_goes_by_name(store: Store) -> None:
    store.write_encoding(encoding_record(**OTHER))
    collect(store)
    assert len(store.encodings("latents")) == 2
    collect(store, drop=[("latents", OTHER["fingerprint"])])
    assert [record.fingerprint for record in store.encodings("latents")] == ["f" * 32]


def test_a_publisher_may_fall_back_to_a_commit_that_gc_left(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    record = encoding_record()
    encode(store, record)
    encode(store, record)
    first = next(iter(store.commits(record).values()))
    collect(store)
    store.folder.delete([store.read_commit(first).meta.name])
    assert store.publish([change_of(record)]).columns["latents"].num_missing == 0


@pytest.mark.parametrize("lands", [False, True])
def test_stopping_anywhere_costs_nothing_that_is_needed(tmp_path: Path, lands: bool) -> None:
    build(tmp_path / "ready")
    store = Store.open(tmp_path / "ready")
    encode(store, encoding_record(), rev=1)
    store.publish([change_of(encoding_record())])
    encode(store, encoding_record(), rev=1)
    for writes in (0, 1, 2, 5, 20, 40):
        path = tmp_path / f"store-{writes}"
        shutil.copytree(tmp_path / "ready", path)
        store = Store.open(path)
        now_s = later(store)
        expected = read_all(store.snapshot())
        try:
            collect(stopping(store, writes, lands=lands), retire=[1], now_s=now_s)
        except StoppedError:
            assert read_all(store.snapshot()) == expected
            for number in store.snapshots():
                assert read_all(store.snapshot(number))
            collect(store, retire=[1], now_s=now_s)
        assert store.snapshots() == [2]
        assert read_all(store.snapshot()) == expected
        if writes and not lands:
            break_even = collect(store, now_s=later(store, 3))
            assert all(parse_snapshot_name(info.name) is None for info in break_even.deleted)
    assert read_all(store.snapshot()) == expected


STEPS: dict[str, Callable[[Store, int], object]] = {}


def step(function: Callable[[Store, int], object]) -> Callable[[Store, int], object]:
    STEPS[function.__name__] = function
    return function


def served_record(store: Store, pick: int) -> EncodingRecord:
    records = store.encodings("latents")
    return records[pick % len(records)]


@step
def encode_one_unit(store: Store, pick: int) -> None:
    record, (generation,) = served_record(store, pick), store.generations()
    units = store.units(record)
    write_unit(store, record, generation, units[pick % len(units)], rev=pick % 3)


@step
def publish_partial(store: Store, pick: int) -> None:
    store.publish([change_of(served_record(store, pick))], allow_partial=True)


@step
def add_encoding(store: Store, pick: int) -> None:
    store.write_encoding(encoding_record(fingerprint=f"{pick % 3}" * 32, write_id="3" * 16))


@step
def retire_one(store: Store, pick: int) -> None:
    numbers = store.snapshots()[:-1]
    collect(store, retire=numbers[pick % len(numbers) :][:1] if numbers else ())


@step
def collect_late(store: Store, pick: int) -> None:
    collect(store, now_s=later(store, pick % 4))


@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 20)), max_size=12))
@settings(max_examples=8, deadline=None)
def test_whatever_happens_every_snapshot_reads_and_every_best_commit_is_whole(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "store"
    build(path)
    store = Store.open(path)
    for name, pick in steps:
        STEPS[name](store, pick)
        existing = names(store)
        for number in store.snapshots():
            read_all(store.snapshot(number))
        for record in store.encodings("latents"):
            for ref in store.commits(record).values():
                commit = store.read_commit(ref)
                assert commit.meta.name in existing
                assert commit.tar is None or commit.tar.name in existing
        for name_found in existing:
            assert parse_unit_object(name_found) is None or "/." not in name_found
