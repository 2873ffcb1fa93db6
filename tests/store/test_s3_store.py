"""The whole life of a store over a real HTTP S3 server."""

import pickle
import threading

import pytest

from latentcache.core.errors import StoreError
from latentcache.store.garbage import GRACE_S, collect_garbage
from latentcache.store.snapshots.column_tables import ColumnChange
from latentcache.store.store import Store
from tests.store.small_store import build, count, encoding_record, make_store, write_unit

pytestmark = pytest.mark.s3


def test_a_store_lives_on_s3_as_it_does_on_a_disk(s3_url: str, tmp_path) -> None:
    url = f"{s3_url}/corpora/store"
    remote, local = build(url), build(tmp_path / "store")
    store = pickle.loads(pickle.dumps(Store.open(url)))
    view, twin = store.snapshot().columns["latents"], local.columns["latents"]
    assert [key for key, *_ in view.iter_samples()] == [key for key, *_ in twin.iter_samples()]
    assert [unit.tar and unit.tar.sha256 for unit in view.units()] == [
        unit.tar and unit.tar.sha256 for unit in twin.units()
    ]
    assert view.quarantine() == twin.quarantine()
    record, (generation,) = view.record, store.generations()
    write_unit(store, record, generation, store.units(record)[0], rejected=(), rev=1)
    change = ColumnChange(record=record, merge_statistics=count)
    assert store.publish([change]).number == 2
    assert store.publish([change]).number == 2
    later = store.folder.now_s() + 1.5 * GRACE_S
    collect_garbage(store, retire=[1], dry_run=False, now_s=later)
    report = collect_garbage(store, dry_run=False, now_s=later)
    assert len(report.deleted) == 7  # tar, meta, commit, three tables, the tombstone
    assert collect_garbage(store, now_s=later).deleted == ()
    assert len(list(store.snapshot().columns["latents"].iter_samples())) == view.num_encoded + 1
    assert remote.number == 1


def test_publishers_that_race_on_s3_lose_nothing(s3_url: str) -> None:
    store = make_store(f"{s3_url}/store")
    (generation,), changes = store.generations(), []
    for number in range(4):
        record = store.write_encoding(encoding_record(column=f"column_{number}"))
        for unit in store.units(record)[:2]:
            write_unit(store, record, generation, unit)
        changes.append(ColumnChange(record=record, merge_statistics=count))
    threads = [
        threading.Thread(target=store.publish, args=([change],), kwargs={"allow_partial": True})
        for change in changes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.snapshots() == [1, 2, 3, 4]
    assert len(store.snapshot().columns) == 4


def test_an_empty_bucket_is_no_store(s3_url: str) -> None:
    with pytest.raises(StoreError, match="store must be a folder with"):
        Store.open(s3_url)
    assert Store.open_or_create(s3_url) == Store.open(s3_url)
