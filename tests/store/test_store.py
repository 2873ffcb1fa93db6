"""A store opens as what it is, and refuses everything else in one sentence."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import latentcache
from latentcache.core.errors import StoreError
from latentcache.storage import CreateIfAbsentSupport, StorageError
from latentcache.store.store import Store
from tests.store.plan_rows import draft_of, reject_table, row_table, runs_of
from tests.store.small_store import RUNS, SQUARE, encoding_record, make_store


def test_a_store_is_created_once_and_opened_after(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    assert Store.open(tmp_path / "store") == store
    assert latentcache.open_store(str(tmp_path / "store")) == store
    assert Store.open_or_create(tmp_path / "store") == store
    assert pickle.loads(pickle.dumps(store)) == store
    with pytest.raises(StoreError, match=r"store must not exist yet, got .*; open it instead"):
        Store.create(tmp_path / "store")


def test_creators_that_race_get_one_store(tmp_path: Path) -> None:
    found: list[Store] = []
    threads = [
        threading.Thread(target=lambda: found.append(Store.open_or_create(tmp_path / "store")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({store.store_id for store in found}) == 1


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"store must be a folder with a latentcache\.json"):
        Store.open(tmp_path / "nowhere")
    (tmp_path / "photo.jpg").write_bytes(b"x")
    for way in (Store.create, Store.open_or_create):
        with pytest.raises(StoreError, match=r"empty or new folder, got .* with other files"):
            way(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_another_format_version_is_refused_with_both_shown(tmp_path: Path) -> None:
    Store.create(tmp_path / "store")
    path = tmp_path / "store" / "latentcache.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 9}))
    for way in (Store.open, Store.open_or_create, Store.create):
        with pytest.raises(StoreError, match="store format must be 1, got 9"):
            way(tmp_path / "store")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_no_permission_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="destination must be writable"):
        Store.create(tmp_path / "store")
    tmp_path.chmod(0o700)


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for way in (Store.create, Store.open_or_create, Store.open):
        with pytest.raises((StoreError, StorageError), match=r"must be a (readable )?folder"):
            way(tmp_path / "file")


def test_generations_form_a_chain(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    assert store.generations() == []
    first = store.write_generation(draft_of(RUNS, rejects=[reject_table("empty.jpg")]))
    more = runs_of((SQUARE, 5, 4), first_shard=first.num_shards)
    second = store.write_generation(draft_of(more))
    assert store.generations() == [first, second]
    assert second.parent == first.digest
    record = encoding_record()
    units = store.units(record)
    assert [unit.unit for unit in units] == sorted(unit.unit for unit in units)
    assert sum(unit.num_rows for unit in units) == first.num_rows + second.num_rows
    assert store.read_rows(units[-1]).num_rows == units[-1].num_rows
    assert store.read_rejects(first)["path"].to_pylist() == ["empty.jpg"]


def test_shards_continue_the_numbering(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    store.write_generation(draft_of(RUNS))
    with pytest.raises(StoreError, match="must continue at shard 5"):
        store.write_generation(draft_of(runs_of((SQUARE, 5, 4), first_shard=3)))


def test_two_runs_that_plan_the_same_share_the_plan(tmp_path: Path) -> None:
    """However long ago the other has written it: a plan is drafted for minutes."""
    store = Store.create(tmp_path / "store")
    theirs = store.write_generation(draft_of(RUNS))
    assert store.write_generation(draft_of(RUNS)) == theirs
    store.write_generation(draft_of(runs_of((SQUARE, 2, 4), first_shard=theirs.num_shards)))
    assert store.write_generation(draft_of(RUNS)) == theirs
    assert len(store.generations()) == 2


def test_two_runs_that_plan_otherwise_are_told_so(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    store.write_generation(draft_of(RUNS, options={"resolution": 512}))
    with pytest.raises(StoreError, match="generation 0 must be planned once, got plans with"):
        store.write_generation(draft_of(RUNS))


def test_a_broken_chain_is_refused(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    first = store.write_generation(draft_of(RUNS))
    store.folder.write("plan/1.json", first.to_bytes())
    with pytest.raises(StoreError, match=r"generation must be 1 on parent .* got 0 on None"):
        store.generations()


def test_an_encoding_is_pinned_by_whoever_is_first(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    pinned = store.read_encoding("latents", "f" * 32)
    late = encoding_record(write_id="1" * 16, threads=4)
    assert store.write_encoding(late) == pinned
    assert store.encodings("latents") == [pinned]
    assert store.encodings("dino") == []
    assert store.columns() == ["latents"]
    with pytest.raises(StoreError, match=f"encoding must be one of {'f' * 32}, got 'abc'"):
        store.read_encoding("latents", "abc")


def test_a_store_without_its_encodings_and_one_that_is_gone_are_told_apart(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    shutil.rmtree(tmp_path / "store/encodings")
    with pytest.raises(StoreError, match=r"got no encodings/latents/f+/encoding.json .*copy"):
        store.read_encoding("latents", "f" * 32)
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(StoreError, match=r"store must stay where it is .*put it back"):
        store.read_encoding("latents", "f" * 32)


def test_no_snapshot_yet_is_one_sentence(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    assert store.snapshots() == []
    with pytest.raises(StoreError, match="store must have a snapshot, got none yet"):
        store.snapshot()
    with pytest.raises(StoreError, match=r"must be one of the store's \(none yet\), got 3"):
        store.snapshot(3)


def test_weak_storage_is_warned_about(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from latentcache.storage import Folder  # noqa: PLC0415

    monkeypatch.setattr(Folder, "probe_create_if_absent", lambda _: CreateIfAbsentSupport.ABSENT)
    Store.create("memory://weak-store")
    assert "replaces an object that is there" in caplog.text


def test_the_package_is_light_until_it_is_used() -> None:
    code = (
        "import sys, latentcache.store, latentcache.storage;"
        "heavy = {'torch', 'ray', 'av', 'diffusers', 'pyarrow', 'fsspec', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_plan_part_of_wrong_rows_never_becomes_a_generation(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    with pytest.raises(ValueError, match="rows must be as many"):
        store.write_generation(draft_of(RUNS, rows=[row_table(RUNS[0], range(1))]))
    assert store.generations() == []
