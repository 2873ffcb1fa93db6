"""Who opens a snapshot reads every encoded sample, and learns why the others are not there."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import webdataset

from latentcache.core.errors import ShardCorruptError, StoreError
from latentcache.core.media import SourceRef, sample_key
from latentcache.store.format.tensors import TensorBytes
from latentcache.store.snapshots.column_tables import ColumnChange
from latentcache.store.snapshots.snapshot import ColumnView, Snapshot
from latentcache.store.store import Store
from tests.store.plan_rows import key_of
from tests.store.small_store import (
    REJECTED,
    RUNS,
    SQUARE,
    WIDE,
    build,
    count,
    make_store,
    mean_of,
    write_unit,
)

PLACES = [
    (shard, row)
    for run in RUNS
    for shard in range(run.first_shard, run.first_shard + run.num_shards)
    for row in range(run.rows_in_shard(shard))
]
PRESENT = [place for place in PLACES if place not in REJECTED]


def bucket_of(shard: int):
    return SQUARE if shard < RUNS[1].first_shard else WIDE


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return build(tmp_path_factory.mktemp("reader") / "store")


@pytest.fixture
def view(snapshot: Snapshot) -> ColumnView:
    return snapshot.column("latents")


def test_the_sum_adds_up(view: ColumnView) -> None:
    assert view.num_encoded == len(PRESENT) == 34
    assert view.num_quarantined == len(REJECTED) + 1
    assert (view.num_missing, view.entry.num_planned) == (0, 42)
    assert view.statistics()["mean.first.count"] == 34
    assert view.num_bytes == sum(
        view.folder.stat(entry.tar.name).size_bytes for entry in view.units() if entry.tar
    )


def test_every_sample_comes_once_in_order_with_its_own_numbers(view: ColumnView) -> None:
    samples = list(view.iter_samples())
    assert [(unit.shard, row) for _, unit, row, _ in samples] == PRESENT
    for key, unit, row, fields in samples:
        assert key == key_of(unit.shard, row)
        mean = fields["mean"]
        assert isinstance(mean, TensorBytes)
        expected = mean_of(bucket_of(unit.shard), unit.shard, row)
        np.testing.assert_array_equal(mean.to_numpy_float32(), expected)
        assert fields["logvar"].dtype == np.float16
        assert fields["tag"].tolist() == [unit.shard, row]


def test_one_sample_is_read_by_its_key(view: ColumnView) -> None:
    fields = view.read_sample(key_of(4, 1))
    assert fields["tag"].tolist() == [4, 1]


def test_a_quarantined_sample_says_why(view: ColumnView) -> None:
    with pytest.raises(StoreError, match="in quarantine: the pixels end early"):
        view.read_sample(key_of(1, 9))
    with pytest.raises(StoreError, match="in quarantine: the file holds no bytes"):
        view.read_sample(sample_key(SourceRef(path="empty.jpg")))
    with pytest.raises(StoreError, match="key must be one of the plan's, got 'nothing'"):
        view.read_sample("nothing")


def test_quarantine_names_source_stage_and_reason(view: ColumnView) -> None:
    rows = view.quarantine().to_pylist()
    assert {(row["shard"], row["row"]) for row in rows} == {*REJECTED, (-1, 0)}
    by_key = {row["key"]: row for row in rows}
    assert by_key[key_of(0, 3)]["reason"] == "the pixels end early"
    assert by_key[sample_key(SourceRef(path="empty.jpg"))]["stage"] == "scan"


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its file open
def test_webdataset_reads_the_tars_that_are_listed(view: ColumnView) -> None:
    found = webdataset.WebDataset(view.tar_urls(), shardshuffle=False)
    keys = [row["__key__"] for row in found]
    assert keys == [key_of(*place) for place in PRESENT]


def test_a_view_travels_to_another_process(view: ColumnView) -> None:
    again = pickle.loads(pickle.dumps(view))
    assert again.read_sample(key_of(0, 0))["tag"].tolist() == [0, 0]


def test_an_unknown_column_is_refused_with_those_there_are(snapshot: Snapshot) -> None:
    with pytest.raises(StoreError, match="column must be one of latents, got 'dino'"):
        snapshot.column("dino")
    assert snapshot.annotation("caption") is None


@pytest.fixture
def damaged(tmp_path: Path) -> ColumnView:
    return build(tmp_path / "store").column("latents")


def test_a_missing_tar_is_one_sentence(damaged: ColumnView) -> None:
    damaged.folder.delete([damaged.units()[0].tar.name])
    for read in (
        lambda: list(damaged.iter_samples()),
        lambda: damaged.read_sample(key_of(0, 0)),
    ):
        with pytest.raises(ShardCorruptError, match="object must be in the store, got none"):
            read()


def test_a_truncated_tar_is_refused_before_anything_is_read_past_it(damaged: ColumnView) -> None:
    path = damaged.folder.local_path(damaged.units()[0].tar.name)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ShardCorruptError):
        list(damaged.iter_samples())


def test_a_damaged_meta_is_refused(damaged: ColumnView) -> None:
    path = damaged.folder.local_path(damaged.units()[0].meta.name)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardCorruptError, match="object must have"):
        damaged.read_sample(key_of(0, 0))


def test_a_partial_store_says_what_is_missing(tmp_path: Path) -> None:
    store: Store = make_store(tmp_path / "store")
    record = store.read_encoding("latents", "f" * 32)
    write_unit(store, record, store.generations()[0], store.units(record)[0])
    change = ColumnChange(record=record, merge_statistics=count)
    view = store.publish([change], allow_partial=True).column("latents")
    assert (view.num_encoded, view.num_missing) == (7, 42 - 7 - 2)
    with pytest.raises(StoreError, match="not encoded yet"):
        view.read_sample(key_of(2, 0))
