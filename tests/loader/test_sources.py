from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from latentcache.core.errors import ConfigError, ShardCorruptError
from latentcache.loader import LatentLoader
from latentcache.loader.cache.shard_cache import ShardCache
from latentcache.loader.select import selection
from latentcache.loader.select.selection import select_rows
from latentcache.loader.select.source import Source, as_sources
from latentcache.store import Snapshot, Store
from latentcache.testing.synthetic import add_generation
from tests.loader.conftest import LATENTS, SQUARE, add_column, make_store


def selected(source: Source, snapshot: Snapshot) -> list[set[int]]:
    return [
        set(range(one.num_rows)) if one.rows is None else set(one.rows.tolist())
        for one in select_rows(source, snapshot, snapshot.generations[0])
    ]


def test_a_filter_joins_plan_fields_and_annotations(store: Store, snapshot: Snapshot) -> None:
    text = 'label == 1 and bucket == "1x64x64" and caption is not None'
    square, wide = selected(Source(store=store, filter=text), snapshot)
    expected = {
        40 * shard + row
        for shard in range(3)
        for row in range(40)
        if row % 4 == 1 and row != 5 and 40 * shard + row < 100
    }
    assert (square, wide) == (expected, set())


def test_without_a_filter_no_list_of_rows_is_kept(store: Store, snapshot: Snapshot) -> None:
    for one in select_rows(Source(store=store), snapshot, snapshot.generations[0]):
        assert (one.rows, one.digest) == (None, "all")


def test_a_split_never_parts_a_medium(store: Store, snapshot: Snapshot) -> None:
    train = selected(Source(store=store, split="train", holdout=0.3), snapshot)
    val = selected(Source(store=store, split="val", holdout=0.3), snapshot)
    for left, right, count in zip(train, val, (100, 40), strict=True):
        assert left | right == set(range(count))
        assert not left & right
        assert not {row // 3 for row in left} & {row // 3 for row in right}  # 3 clips a medium
    share = sum(map(len, val)) / 140
    assert 0.1 < share < 0.5


def test_growth_does_not_move_the_split(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 90, 40)], clips_per_medium=3)
    source = Source(store=store, split="val", holdout=0.3)
    before = selected(source, add_column(store, LATENTS))
    add_generation(store, [(SQUARE, 30, 40)], clips_per_medium=3)
    assert selected(source, add_column(store, LATENTS)) == before


def test_equal_selections_have_equal_digests(store: Store, snapshot: Snapshot) -> None:
    digests = [
        [
            one.digest
            for one in select_rows(
                Source(store=store, filter=text), snapshot, snapshot.generations[0]
            )
        ]
        for text in ("label < 2", "not label >= 2", "label < 3")
    ]
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])


def test_a_name_that_nobody_knows_is_shown_with_those_that_are_known(
    store: Store, snapshot: Snapshot
) -> None:
    with pytest.raises(
        ConfigError, match=r"annotations \(caption, captions, label\), got 'sccore'"
    ):
        selected(Source(store=store, filter="sccore > 2"), snapshot)


def test_weights_are_given_to_all_sources_or_none(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"all sources or to none, got \[1.0, None\]"):
        as_sources([Source(store=store, weight=1.0), store])
    names = [source.name for source in as_sources([store, Source(store=store, name="more")])]
    assert names == ["0", "more"]
    assert np.isclose(as_sources(store)[0].repeats, 1)


@pytest.mark.parametrize(
    "wrong", [{"split": "test"}, {"holdout": 0}, {"repeats": 0}, {"weight": 1, "repeats": 2}]
)
def test_a_source_that_makes_no_sense_is_refused(store: Store, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Source(store=store, **wrong)


def test_a_selection_is_kept_in_the_cache_and_is_the_same(
    store: Store, snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ShardCache(tmp_path, 10**6)
    source = Source(store=store, filter="label < 2", split="train", holdout=0.3)
    generation = snapshot.generations[0]
    first = select_rows(source, snapshot, generation, cache)
    (kept,) = tmp_path.glob("*.bits")
    with monkeypatch.context() as patch:
        patch.delattr(selection, "_make_bitmaps")
        again = select_rows(source, snapshot, generation, cache)
    assert [one.digest for one in again] == [one.digest for one in first]
    assert [one.rows.tolist() for one in again] == [one.rows.tolist() for one in first]
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")  # damaged: made again
    whole = select_rows(source, snapshot, generation, cache)
    assert [one.digest for one in whole] == [one.digest for one in first]


def test_a_snapshot_that_was_copied_in_part_is_told(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    view = store.snapshot().column("latents")
    (annotation,) = store.snapshot().record.annotations["label"]
    store.folder.delete([annotation.name])
    with pytest.raises(ShardCorruptError, match="annotation must be in the store, got none"):
        LatentLoader(Source(store=store, filter="label < 2"), global_batch_size=4)
    store.folder.delete([view.entry.units.name])
    with pytest.raises(ShardCorruptError, match=r"table must be in the store, got none .*in part"):
        LatentLoader(store, global_batch_size=4)


def test_lists_of_numbers_are_vectors(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    generation = add_generation(store, [(SQUARE, 30, 20)])
    shards, rows = [0] * 20 + [1] * 10, [*range(20), *range(10)]
    boxes = pa.array([[row, shard, 0.5] for shard, row in zip(shards, rows, strict=True)])
    table = pa.table({"shard": shards, "row": rows, "value": boxes})
    store.write_annotations(generation, "box", [table])
    add_column(store, LATENTS)
    batch = next(iter(LatentLoader(store, columns=["latents", "box"], global_batch_size=8)))
    expected = [[row % 20, row // 20, 0.5] for row in batch["row"].tolist()]
    assert batch["box"].tolist() == expected
