"""One placement of a sample an epoch: each sample once, whatever bucket it is drawn from."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket, SourceRef, sample_key
from latentcache.core.placements import Placement
from latentcache.core.units import BucketRun
from latentcache.exchange import copy_subset
from latentcache.loader import LatentLoader, LoaderOptions, Source
from latentcache.runner import retire_samples
from latentcache.store import GenerationDraft, Store
from latentcache.store.rows import PLACED_PLAN_SCHEMA
from latentcache.testing.synthetic import SyntheticColumn, add_column

NUM_LARGE, NUM_SMALL = 10, 6
NUM = NUM_LARGE + NUM_SMALL
LAWS = settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def add_rows(store: Store, *, is_flipped: bool) -> None:
    """Plan two crops of each sample at each resolution that it has."""
    first_shard = sum(each.num_shards for each in store.generations())
    runs, rows = [], []
    for resolution_px, num_samples in ((64, NUM), (128, NUM_LARGE)):
        bucket = Bucket(1, resolution_px, resolution_px)
        num_rows = 2 * num_samples
        run = BucketRun(
            bucket=bucket, first_shard=first_shard, num_rows=num_rows, rows_per_shard=16
        )
        for at in range(num_rows):
            sample, crop = divmod(at, 2)
            place = Placement(resolution_px=resolution_px, crop_index=crop, is_flipped=is_flipped)
            source = SourceRef(path=f"{sample:02d}.png")
            rows.append(
                {
                    "key": place.key(sample_key(source), first_resolution_px=64),
                    "shard": first_shard + at // 16,
                    "row": at % 16,
                    "bucket": str(bucket),
                    "path": source.path,
                    "member": "",
                    "offset_bytes": -1,
                    "size_bytes": 100,
                    "version": "1",
                    "source_width_px": 300,
                    "source_height_px": 200,
                    "resized_width_px": resolution_px + 32,
                    "resized_height_px": resolution_px,
                    "crop_left_px": 16 * (1 - crop),
                    "crop_top_px": 0,
                    "is_animated": False,
                    "resolution_px": resolution_px,
                    "crop_index": crop,
                    "is_flipped": is_flipped,
                }
            )
        first_shard += run.num_shards
        runs.append(run)
    store.write_generation(
        GenerationDraft(
            corpus_url="drawn",
            corpus_kind="folder",
            options={"resolution_px": [64, 128]},
            seed=0,
            runs=tuple(runs),
            rows=[pa.Table.from_pylist(rows, PLACED_PLAN_SCHEMA)],
            num_placements=8,
            totals={"listed": NUM},
        )
    )


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of samples at two resolutions, some at one; flips came with an update."""
    path = tmp_path_factory.mktemp("placed") / "store"
    store = Store.create(path)
    add_rows(store, is_flipped=False)
    add_rows(store, is_flipped=True)
    add_column(store, SyntheticColumn(rows_per_unit=16))
    return path


@pytest.fixture(scope="module")
def joined(placed: Path) -> Path:
    """A copy of it, in which both generations are one."""
    copy = placed.parent / "copy"
    snapshot = Store.open(placed).snapshot()
    copy_subset(snapshot, copy, filter_text="source_width_px > 0", on_progress=lambda *_: None)
    return copy


COLUMNS = ["latents", "path", "resolution_px", "crop_index", "is_flipped"]


def loader_of(store: Path, batch: int = 2, **options: Any) -> LatentLoader:
    source = {name: options.pop(name) for name in ("filter", "split", "holdout") if name in options}
    given = Source(store=str(store), placements="one", **source)
    return LatentLoader(given, columns=COLUMNS, global_batch_size=batch, **options)


def rows_of(batches: Iterator[Any]) -> list[tuple[Any, ...]]:
    return [
        row
        for batch in batches
        for row in zip(
            batch["path"],
            batch["resolution_px"].tolist(),
            batch["crop_index"].tolist(),
            batch["is_flipped"].tolist(),
            batch["noise_seed"].tolist(),
            strict=True,
        )
    ]


def families(rows: list[tuple[Any, ...]]) -> tuple[list[str], list[str]]:
    """Return the paths of those with two resolutions, and of the others, as they came."""
    large = [row[0] for row in rows if int(row[0][:2]) < NUM_LARGE]
    return large, [row[0] for row in rows if int(row[0][:2]) >= NUM_LARGE]


@LAWS
@given(
    batch=st.integers(1, 5),
    seed=st.integers(0, 2**32),
    window=st.sampled_from([0, 1]),
    is_joined=st.booleans(),
)
def test_each_sample_comes_once_in_each_epoch(
    placed: Path, joined: Path, batch: int, seed: int, window: int, is_joined: bool
) -> None:
    options = LoaderOptions(window_shards=window)
    store = joined if is_joined else placed
    loader = loader_of(store, batch, seed=seed, options=options)
    rows = rows_of(islice(loader, 6 * NUM // batch + 6))
    for paths, count in zip(families(rows), (NUM_LARGE, NUM_SMALL), strict=True):
        assert len(paths) >= 2 * count
        for start in range(0, len(paths) - count + 1, count):
            assert len(set(paths[start : start + count])) == count


def test_all_placements_come_about_equally_often(placed: Path) -> None:
    rows = rows_of(islice(loader_of(placed, 2), 8 * 30 * NUM // 2))
    counts = Counter(row[:4] for row in rows if row[0] == "03.png")
    assert len(counts) == 8
    assert max(counts.values()) < 2 * min(counts.values())


def on_ranks(
    store: Path, world_size: int, state: Any, steps: int, **options: Any
) -> tuple[list[tuple[Any, ...]], list[Any]]:
    """Return the rows of some steps, those of all ranks in order, and each rank's state after."""
    loaders = [
        loader_of(store, rank=rank, world_size=world_size, **options) for rank in range(world_size)
    ]
    parts = []
    for loader in loaders:
        if state is not None:
            loader.load_state_dict(state)
        parts.append([rows_of(iter([one])) for one in islice(loader, steps)])
    rows = [row for of_step in zip(*parts, strict=True) for part in of_step for row in part]
    return rows, [loader.state for loader in loaders]


@LAWS
@given(
    batch=st.sampled_from([4, 8]),
    worlds=st.lists(st.sampled_from([1, 2, 4]), min_size=2, max_size=3),
    at=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_a_run_goes_on_at_any_step_and_on_any_number_of_ranks(
    placed: Path, batch: int, worlds: list[int], at: int, seed: int
) -> None:
    whole = loader_of(placed, batch, seed=seed)
    expected = rows_of(islice(whole, at * len(worlds)))
    state, found = None, []
    for world_size in worlds:
        rows, states = on_ranks(placed, world_size, state, at, batch=batch, seed=seed)
        assert all(each == states[0] for each in states)
        state = states[0]
        found += rows
    assert found == expected


def test_a_pass_has_each_sample_once_and_always_the_same_row(placed: Path) -> None:
    loader = loader_of(placed, 4, one_pass=True)
    rows = rows_of(iter(loader))
    assert sorted(row[0] for row in rows) == [f"{number:02d}.png" for number in range(NUM)]
    assert rows_of(iter(loader)) == rows


def test_the_length_and_the_split_are_of_samples(placed: Path) -> None:
    loader = loader_of(placed, 1)
    assert len(loader) == NUM
    assert f"samples {NUM} in " in str(loader)
    assert "one placement of each sample" in str(loader)
    sides = [
        {row[0] for row in rows_of(iter(loader_of(placed, 1, one_pass=True, split=s, holdout=0.4)))}
        for s in ("train", "val")
    ]
    assert len(sides[0]) + len(sides[1]) == NUM
    assert not sides[0] & sides[1]


def test_a_filter_leaves_what_is_drawn_among(placed: Path) -> None:
    rows = rows_of(islice(loader_of(placed, 1, filter="resolution_px == 128"), 60))
    assert {row[1] for row in rows} == {128}
    assert len({row[0] for row in rows[:NUM_LARGE]}) == NUM_LARGE


def test_a_row_that_is_gone_gives_way_to_another_of_its_sample(
    placed: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "own"
    snapshot = Store.open(placed).snapshot()
    copy_subset(snapshot, copy, filter_text="resolution_px == 64", on_progress=lambda *_: None)
    loader = loader_of(copy, 1, filter='path == "03.png"')
    keys = {key for batch in islice(loader, 40) for key in batch["key"]}
    assert len(keys) == 4
    gone = sorted(keys)[0]
    retire_samples(Store.open(copy), [gone])
    rows = rows_of(islice(loader_of(copy, 1), 12 * NUM))
    left = {
        key
        for batch in islice(loader_of(copy, 1, filter='path == "03.png"'), 40)
        for key in batch["key"]
    }
    assert left == keys - {gone}
    assert Counter(row[0] for row in rows)["03.png"] == 12


def test_all_placements_are_what_they_were_before(placed: Path) -> None:
    source = Source(store=str(placed))
    loader = LatentLoader(source, columns=COLUMNS, global_batch_size=1, one_pass=True)
    rows = rows_of(iter(loader))
    assert len({row[:4] for row in rows}) == len(rows) == 8 * NUM_LARGE + 4 * NUM_SMALL


def test_what_does_not_fit_is_refused_in_a_sentence(placed: Path) -> None:
    with pytest.raises(ConfigError, match="placements must be all or one, got 'some'"):
        Source(store=str(placed), placements="some")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(
        ConfigError, match="window_frames and batch_by must be left away where placements"
    ):
        loader_of(placed, 1, options=LoaderOptions(window_frames=3))
    state = loader_of(placed, 2).state
    other = LatentLoader(Source(store=str(placed)), columns=COLUMNS, global_batch_size=2)
    with pytest.raises(ConfigError, match=r"selection of source 0 must be .*all\+one"):
        other.load_state_dict(state)
