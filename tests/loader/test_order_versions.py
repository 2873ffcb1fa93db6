"""What changed with order version 2, and that runs of version 1 go on as they began.

``order_version_1.json`` is what the last build with version 1 drew from ``make_store``.
"""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.loader import LatentLoader, LoaderOptions, Source
from latentcache.loader.order.epoch_order import OrderRule, StreamOrder
from latentcache.loader.order.feistel import keyed_permutation
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.law_examples import examples
from tests.loader.conftest import SQUARE

BEFORE: dict[str, Any] = json.loads(
    Path(__file__).with_name("order_version_1.json").read_text(encoding="utf-8")
)


def loader_of(store: Store, case: dict[str, Any], batch_size: int = 24) -> LatentLoader:
    return LatentLoader(
        Source(store=store, **case["source"]),
        columns=["latents", "captions"],
        global_batch_size=batch_size,
        seed=5,
        options=LoaderOptions(**case["options"]),
    )


@pytest.mark.parametrize("name", BEFORE)
def test_a_run_of_version_1_goes_on_in_its_order_and_with_its_draws(
    store: Store, name: str
) -> None:
    case = BEFORE[name]
    fresh = loader_of(store, case)
    # What was held out of such a run unless it was said: one in a hundred, of any store.
    state = loader_of(store, {**case, "source": {**case["source"], "holdout": 0.01}}).state
    old = {**state, "order": {**state["order"], "version": 1}}
    fresh.load_state_dict(old)
    for batch, before in zip(fresh, case["batches"], strict=False):
        assert batch["row"].tolist() == before["rows"]
        assert batch["noise_seed"][:2].tolist() == before["seeds"]
        assert "".join(text[0] for text in batch["captions"]) == before["captions"]
    assert fresh.state["order"]["version"] == 1
    again = loader_of(store, case)
    again.load_state_dict(fresh.state_dict())
    assert again.state == fresh.state


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=25),
    window=st.integers(1, 5),
    lanes=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_a_window_holds_whole_blocks_of_any_sizes(
    sizes: list[int], window: int, lanes: int, seed: int
) -> None:
    """Every epoch has each row once, and a block is needed within one window of the epoch only."""
    starts = np.cumsum([0, *sizes[:-1]])
    num_rows = sum(sizes)
    lanes = min(lanes, num_rows)
    rule = OrderRule(seed=seed, window_blocks=window, partitions=lanes)
    order = StreamOrder("s", num_rows, rule, block_starts=starts)
    bounds = [num_rows * lane // lanes for lane in range(lanes + 1)]
    for lane in range(lanes):
        size = bounds[lane + 1] - bounds[lane]
        for epoch in range(2):
            stop = (epoch + 1) * size
            part = slice(lane * stop + epoch * size, lane * stop + stop)
            rows = order.draw(0, stop * lanes, part).rows
            assert sorted(rows.tolist()) == list(range(bounds[lane], bounds[lane + 1]))
            blocks = np.searchsorted(starts, rows, side="right") - 1
            groups = [sorted(set(group)) for group in in_windows(blocks.tolist(), window)]
            assert all(len(group) <= window for group in groups)


def in_windows(blocks: list[int], window: int) -> list[list[int]]:
    """Cut an epoch where a block comes that is not among the window's."""
    groups: list[list[int]] = []
    total = Counter(blocks)
    while blocks:
        inside: set[int] = set()
        for block in blocks:
            if block not in inside and len(inside) == window:
                break
            inside.add(block)
        size = sum(total[block] for block in inside)
        assert set(blocks[:size]) == inside, "a window's blocks come whole, and before others"
        groups.append(blocks[:size])
        blocks = blocks[size:]
    return groups


@pytest.mark.parametrize("num", [5, 6, 7])
def test_every_permutation_of_a_few_rows_is_equally_likely(num: int) -> None:
    """Chi-square over all of them stays within four deviations; version 1 reached some only."""
    every = dict.fromkeys(itertools.permutations(range(num)), 0)
    times = 20 * len(every) if num < 7 else 8 * len(every)
    for number in range(times):
        every[tuple(keyed_permutation(num, 3, "s", number, version=2)(np.arange(num)))] += 1
    expected = times / len(every)
    chi_square = sum((count - expected) ** 2 / expected for count in every.values())
    freedom = len(every) - 1
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """40 tars of 24 rows in memory, of which one row in 20 is missing."""
    store = Store.create("memory://order-versions/store")
    add_generation(store, [(SQUARE, 960, 24)])
    lost = frozenset(
        (shard, row) for shard in range(40) for row in range(24) if (shard + row) % 20 == 0
    )
    add_column(store, SyntheticColumn(rows_per_unit=32, rejected=lost))
    return store


@pytest.mark.parametrize("source", [{}, {"split": "train", "holdout": 0.3}])
@pytest.mark.parametrize("window", [1, 3])
def test_an_epoch_fetches_each_tar_once_at_the_smallest_cache_that_is_accepted(
    remote: Store, tmp_path: Path, source: dict[str, Any], window: int
) -> None:
    tar_bytes = max(
        entry.tar.size_bytes for entry in remote.snapshot().column("latents").units() if entry.tar
    )
    options = LoaderOptions(
        window_shards=window, cache=tmp_path / "cache", cache_bytes=2 * window * tar_bytes
    )
    loader = LatentLoader(Source(store=remote, **source), global_batch_size=8, options=options)
    (stream,) = loader.coverage()
    num_epochs = 2
    for _ in itertools.islice(loader, num_epochs * stream.num_rows // 8):
        pass
    progress = loader.cache_progress()
    assert progress is not None
    ahead = 2 * window  # of the third epoch
    assert progress.num_fetched <= 1.05 * num_epochs * 40 + ahead


@examples(10)
@given(seed=st.integers(0, 2**32))
def test_no_row_has_the_same_noise_twice_in_an_epoch(store: Store, seed: int) -> None:
    """Neither where it stands in for others, nor where its store is listed twice."""
    sources = [Source(store=store, name="a"), Source(store=store, name="b")]
    loader = LatentLoader(sources, global_batch_size=20, seed=seed)
    seen: list[tuple[int, int]] = []
    for batch in itertools.islice(loader, 14):
        seen += zip(batch["row"].tolist(), batch["noise_seed"].tolist(), strict=True)
    assert max(Counter(row for row, _ in seen).values()) > 1
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("options", [{"window_shards": 1}, {"window_shards": 2}, {"partitions": 4}])
def test_a_row_stands_in_for_its_neighbours(store: Store, options: dict[str, Any]) -> None:
    """Of the same shard; where that has none, of the window or the lane."""
    loader = LatentLoader(
        Source(store=store, filter='bucket == "1x64x64"'),
        columns=["dino", "latents"],
        global_batch_size=4,
        options=LoaderOptions(**options),
    )
    (stream,) = loader._run.streams
    (member,) = loader._run.mixture.members
    for step in range(60):
        drawn = member.order.draw(step * 4, 4, slice(0, 4))
        picked = stream.pick(drawn, member.order)
        for index, row in zip(drawn.rows.tolist(), picked.rows.tolist(), strict=True):
            if row == index:
                continue
            if "partitions" in options:
                assert row * 4 // 100 == index * 4 // 100
            elif index // 40 != 2 or (index - 80) >= 16:
                assert row // 40 == index // 40


@pytest.mark.parametrize("options", [{}, {"window_shards": 2}, {"partitions": 4}])
@examples(20)
@given(start=st.integers(0, 400), count=st.integers(1, 100))
def test_who_stands_in_does_not_depend_on_what_is_looked_for_with_it(
    store: Store, options: dict[str, Any], start: int, count: int
) -> None:
    loader = LatentLoader(
        Source(store=store, filter='bucket == "1x64x64"'),
        columns=["dino", "latents"],
        global_batch_size=4,
        options=LoaderOptions(**options),
    )
    (stream,) = loader._run.streams
    (member,) = loader._run.mixture.members
    start, count = start * 4, count * 4
    together = stream.pick(member.order.draw(start, count, slice(0, count)), member.order)
    for at in range(0, count, 4 * max(1, count // 40)):
        one = slice(at, at + 1)
        alone = stream.pick(member.order.draw(start, count, one), member.order)
        assert alone.rows.tolist() == together.rows[one].tolist()
