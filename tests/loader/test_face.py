"""What a user types and reads: options misnamed, a loader in words, files, classes, defaults."""

import logging
from pathlib import Path

import pytest

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.loader import LatentLoader, LoaderOptions, Source
from latentcache.store import Store
from latentcache.store.rows import iter_rows
from latentcache.testing.synthetic import (
    SyntheticColumn,
    add_annotation,
    add_column,
    add_generation,
)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Squares, wide pictures and clips of the wide ones' size."""
    store = Store.create(tmp_path_factory.mktemp("face") / "store")
    runs = [(Bucket(1, 64, 64), 60, 20), (Bucket(1, 64, 96), 30, 16), (Bucket(17, 64, 96), 20, 16)]
    add_generation(store, runs, clips_per_medium=2)
    add_column(store, SyntheticColumn(is_video=True))
    return store


def test_every_misnamed_option_is_answered_with_ours(store: Store) -> None:
    options = {
        "batch_size": 8,
        "shuffle": True,
        "holdout": 0.1,
        "cache": "x",
        "colums": ["latents"],
        "state": {},
        "num_epochs": 3,
    }
    with pytest.raises(ConfigError) as refused:
        LatentLoader(store, **options)  # type: ignore[arg-type]  # that is what is tried
    for ours in (
        "for batch_size use global_batch_size=N",
        "for shuffle use nothing: the order is always shuffled",
        "for holdout use Source(store=..., holdout=...)",
        "for cache use options=LoaderOptions(cache=...)",
        "for colums use columns=...",
        "for state use loader.load_state_dict(state)",
        "for num_epochs use nothing: it is endless",
    ):
        assert ours in str(refused.value)


def test_a_loader_in_words_says_what_is_read_how_much_and_by_whom(shapes: Store) -> None:
    source = Source(store=shapes, filter="bucket != '1x64x64'", split="train", holdout=0.25)
    loader = LatentLoader(source, global_batch_size=4, micro_batches=2, rank=0, world_size=2)
    text = str(loader)
    rows = {one.stream: one.num_rows for one in loader.coverage()}
    assert f"store {shapes.folder.label}, snapshot 1, filter bucket != '1x64x64'" in text
    assert "split train (holdout 0.25)" in text
    assert f"rows {sum(rows.values())} in 2 streams" in text
    for name, num_rows in rows.items():
        assert f"{name}: {num_rows} rows, 4 in a global batch" in text
    assert "rank 0 of 2, 2 micro-batches a step" in text
    assert "latents: normalized by measured figures" in text


def test_a_table_has_sizes_by_bucket_by_width_and_height_and_for_the_rest(
    shapes: Store, caplog: pytest.LogCaptureFixture
) -> None:
    table = {"default": 6, "96x64": 4, "17x64x96": 2, "512x512": 9}
    with caplog.at_level(logging.WARNING):
        loader = LatentLoader(shapes, global_batch_size=table)
        next(iter(loader))
    sizes = {bucket: of["latents"][0] for bucket, of in loader.shapes().items()}
    assert sizes == {"1x64x64": 6, "1x64x96": 4, "17x64x96": 2}
    assert "names no bucket: ['512x512']" in caplog.text
    with pytest.raises(ConfigError, match=r'got none for 1x64x64 .*add it, or "default"'):
        LatentLoader(shapes, global_batch_size={"96x64": 4})


def test_plan_fields_have_the_names_in_batches_that_they_have_in_filters(shapes: Store) -> None:
    names = ["path", "member", "source_width_px", "source_height_px", "original_size"]
    loader = LatentLoader(
        Source(store=shapes, filter="source_width_px > source_height_px"),
        columns=["latents", *names],
        global_batch_size=10,
    )
    snapshot = shapes.snapshot()
    plan: list[tuple[object, ...]] = []
    for table in iter_rows(snapshot.folder, snapshot.generations[0], [*names[:4], "key"]):
        plan += zip(*(table[name].to_pylist() for name in ("key", *names[:4])), strict=True)
    for _, batch in zip(range(6), loader, strict=False):
        read = [list(batch[name]) for name in ("row", "key", *names[:4])]
        for row, *values in zip(*read, strict=True):
            assert tuple(values) == plan[row]
        pairs = zip(batch["source_height_px"], batch["source_width_px"], strict=True)
        assert batch["original_size"].tolist() == [[int(one), int(two)] for one, two in pairs]
    with pytest.raises(ConfigError, match="write source_height_px and source_width_px"):
        LatentLoader(Source(store=shapes, filter="original_size > 64"), global_batch_size=2)


def test_a_remote_store_gets_a_bounded_cache_of_the_user_s_which_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = Store.create("memory://face/remote")
    add_generation(store, [(Bucket(1, 64, 64), 40, 16)])
    add_column(store, SyntheticColumn())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            next(iter(LatentLoader(store, global_batch_size=20)))["latents"]
    folder = tmp_path / "latentcache" / "shards"
    assert list(folder.glob("*.tar"))
    said = [one for one in caplog.messages if "LoaderOptions(cache=FOLDER" in one]
    assert len(said) == 1
    assert str(folder) in said[0]
    assert LoaderOptions(cache_bytes=5).open_cache([store]).max_bytes == 5  # type: ignore[union-attr]


def test_a_batch_larger_than_an_epoch_is_said_with_the_way_out(
    shapes: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        next(iter(LatentLoader(shapes, global_batch_size=500)))
    (said,) = [one for one in caplog.messages if "fewer samples than a batch" in one]
    assert "give it a smaller batch" in said


def test_a_state_of_a_later_order_version_is_refused(shapes: Store) -> None:
    loader = LatentLoader(shapes, global_batch_size=4)
    state = loader.state
    state["order"] = {**state["order"], "version": 9}
    with pytest.raises(ConfigError, match="order version must be 1 to 2, got 9"):
        loader.load_state_dict(state)


def test_two_threads_cannot_train_from_one_loader(shapes: Store) -> None:
    """Each would get half of the batches, and both the wrong state."""
    loader = LatentLoader(shapes, global_batch_size=4)
    loader._drawing.acquire()  # as another thread does while it draws
    with pytest.raises(ConfigError, match="one training at a time, got two threads"):
        next(iter(loader))


def with_classes(path: Path, names: list[str]) -> Store:
    """Return a store that was planned from folders of such names."""
    store = Store.create(path)
    generation = add_generation(store, [(Bucket(1, 64, 64), 40, 16)], classes=names)
    add_annotation(store, generation, "label", lambda _, row: row % len(names))
    add_column(store, SyntheticColumn())
    return store


def test_classes_are_named_and_numbered_alike_in_all_sources(tmp_path: Path, store: Store) -> None:
    animals = with_classes(tmp_path / "animals", ["cat", "dog"])
    fruits = with_classes(tmp_path / "fruits", ["apple", "cherry", "dog"])
    columns = ["latents", "label"]
    loader = LatentLoader(animals, columns=columns, global_batch_size=4)
    assert loader.classes == ("cat", "dog")
    assert LatentLoader(store, global_batch_size=4).classes is None
    both = [Source(store=animals, name="a"), Source(store=fruits, name="b")]
    with pytest.raises(ConfigError, match="got 'cat' and 'apple' for 0"):
        LatentLoader(both, columns=columns, global_batch_size=4)
    assert LatentLoader(both, global_batch_size=4) is not None


def test_the_default_holdout_of_a_small_store_is_more_than_a_sample(tmp_path: Path) -> None:
    """And neither growth nor a state of a run with another default changes a split."""
    store = Store.create(tmp_path / "store")
    add_generation(store, [(Bucket(1, 64, 64), 277, 64)])
    add_column(store, SyntheticColumn())
    val = LatentLoader(store, global_batch_size=4, split="val", one_pass=True)
    held_out = [row for batch in val for row in batch["row"].tolist()]
    assert 10 < len(held_out) < 50
    before = LatentLoader(Source(store=store, split="train", holdout=0.01), global_batch_size=4)
    next(iter(before))
    add_generation(store, [(Bucket(1, 64, 64), 20_000, 4096)])
    after = LatentLoader(store, global_batch_size=4, split="train")
    after.load_state_dict(before.state)
    assert next(iter(after))["row"].tolist() == next(iter(before))["row"].tolist()
    again = LatentLoader(store, global_batch_size=4, split="val", one_pass=True)
    assert [row for batch in again for row in batch["row"].tolist()] == held_out
