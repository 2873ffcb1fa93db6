"""Promise 4: the same samples in the same order for any ranks, cuts, resumes and ramps."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.loader.order.epoch_order import OrderRule, StreamOrder, rank_part
from latentcache.loader.order.mixture import Cursor, Member, Mixture

rules = st.builds(
    OrderRule,
    seed=st.integers(0, 1000),
    partitions=st.sampled_from([1, 2, 4]),
    window_blocks=st.integers(0, 5),
)


def read(order: StreamOrder, start: int, sizes: list[int]) -> list[np.ndarray]:
    batches = []
    for size in sizes:
        batches.append(order.draw(start, size, slice(0, size)).rows)
        start += size
    return batches


@given(rule=rules, num_rows=st.integers(4, 300), block_rows=st.integers(1, 40))
def test_an_epoch_of_a_lane_is_all_its_rows(
    rule: OrderRule, num_rows: int, block_rows: int
) -> None:
    order = StreamOrder("s", num_rows, rule, block_rows=block_rows)
    lanes = rule.partitions
    bounds = [num_rows * lane // lanes for lane in range(lanes + 1)]
    for lane in range(lanes):
        size = bounds[lane + 1] - bounds[lane]
        for epoch in range(3):
            start, stop = epoch * size, (epoch + 1) * size
            first = slice(lane * stop, lane * stop + 0)
            drawn = order.draw(0, stop * lanes, slice(first.start + start, lane * stop + stop))
            assert sorted(drawn.rows.tolist()) == list(range(bounds[lane], bounds[lane + 1]))
            assert set(drawn.draws.tolist()) == {epoch}


@given(num_rows=st.integers(1, 400), block_rows=st.integers(1, 30), window_blocks=st.integers(1, 6))
def test_a_window_holds_whole_blocks(num_rows: int, block_rows: int, window_blocks: int) -> None:
    """While a window is read, no more than its blocks are needed."""
    rule = OrderRule(seed=5, window_blocks=window_blocks)
    rows = StreamOrder("s", num_rows, rule, block_rows=block_rows)
    drawn = rows.draw(0, num_rows, slice(0, num_rows)).rows // block_rows
    last_seen = {block: place for place, block in enumerate(drawn.tolist())}
    first_seen: dict[int, int] = {}
    for place, block in enumerate(drawn.tolist()):
        first_seen.setdefault(block, place)
    needed = np.zeros(num_rows + 1, int)
    for block, place in first_seen.items():
        needed[place : last_seen[block] + 1] += 1
    assert needed.max() <= window_blocks


@given(
    rule=rules,
    num_rows=st.integers(4, 200),
    world=st.sampled_from([1, 2, 3, 4]),
    micro=st.sampled_from([1, 2]),
    scale=st.integers(1, 2),
    start=st.integers(0, 50),
)
def test_ranks_and_micro_batches_partition_each_global_batch(
    rule: OrderRule, num_rows: int, world: int, micro: int, scale: int, start: int
) -> None:
    count = world * micro * rule.partitions * scale
    start *= rule.partitions
    whole = StreamOrder("s", num_rows, rule, block_rows=7).draw(start, count, slice(0, count))
    parts = []
    for rank in range(world):
        order = StreamOrder("s", num_rows, rule, block_rows=7)  # each rank has its own
        for number in range(micro):
            part = rank_part(count, rank=rank, world_size=world, micro=number, micro_batches=micro)
            parts.append(order.draw(start, count, part))
    assert np.array_equal(np.concatenate([part.rows for part in parts]), whole.rows)
    assert np.array_equal(np.concatenate([part.draws for part in parts]), whole.draws)


@given(
    seed=st.integers(0, 99),
    num_rows=st.integers(1, 300),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12),
)
def test_a_batch_ramp_repeats_and_skips_nothing(seed: int, num_rows: int, sizes: list[int]) -> None:
    order = StreamOrder("s", num_rows, OrderRule(seed=seed))
    total = sum(sizes)
    ramp = np.concatenate(read(order, 0, sizes))
    fresh = StreamOrder("s", num_rows, OrderRule(seed=seed))
    assert np.array_equal(ramp, fresh.draw(0, total, slice(0, total)).rows)


def test_ranks_that_divide_the_partitions_read_their_own_rows_only() -> None:
    rule = OrderRule(seed=1, partitions=4)
    order = StreamOrder("s", 103, rule)
    for rank in range(2):
        seen: set[int] = set()
        for step in range(40):
            part = rank_part(16, rank=rank, world_size=2)
            seen |= set(order.draw(step * 16, 16, part).rows.tolist())
        assert seen == set(range(103 * 2 * rank // 4, 103 * 2 * (rank + 1) // 4))


def mixture_of(rows: list[int], sizes: list[int], *, weights: list[int] | None = None) -> Mixture:
    weights = weights or rows
    return Mixture(
        [
            Member(
                order=StreamOrder(f"s{number}", count, OrderRule(seed=3)),
                weight=Fraction(weight),
                batch_size=size,
            )
            for number, (count, size, weight) in enumerate(zip(rows, sizes, weights, strict=True))
        ],
        seed=3,
    )


def steps_of(mixture: Mixture, cursor: Cursor, count: int) -> tuple[list[list[int]], Cursor]:
    found = []
    for _ in range(count):
        draw = mixture.draw_at(cursor)
        rows = mixture.rows(draw, slice(0, draw.count)).rows.tolist()
        found.append([draw.member, *rows])
        cursor = mixture.after(cursor, draw)
    return found, cursor


mixtures = st.lists(st.tuples(st.integers(4, 80), st.integers(1, 12)), min_size=1, max_size=4).map(
    lambda pairs: tuple(zip(*pairs, strict=True))
)


@given(layout=mixtures, cut=st.integers(0, 40))
def test_a_run_resumes_at_any_step(layout: tuple, cut: int) -> None:
    rows, sizes = (list(values) for values in layout)
    whole, _ = steps_of(mixture_of(rows, sizes), Cursor(), 60)
    head, cursor = steps_of(mixture_of(rows, sizes), Cursor(), cut)
    tail, _ = steps_of(mixture_of(rows, sizes), cursor, 60 - cut)
    assert head + tail == whole
    assert mixture_of(rows, sizes).cursor_at(cut) == cursor


@given(layout=mixtures, changes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_ramp_in_a_mixture_continues_every_stream(layout: tuple, changes: list[int]) -> None:
    rows, sizes = (list(values) for values in layout)
    cursor, seen = Cursor(), {number: [] for number in range(len(rows))}
    for factor in changes:
        mixture = mixture_of(rows, [size * factor for size in sizes])
        batches, cursor = steps_of(mixture, cursor, 15)
        for member, *drawn in batches:
            seen[member] += drawn
    for number, count in enumerate(rows):
        total = len(seen[number])
        fresh = StreamOrder(f"s{number}", count, OrderRule(seed=3))
        assert not total or seen[number] == fresh.draw(0, total, slice(0, total)).rows.tolist()


def test_growth_leaves_old_streams_as_they_were() -> None:
    before, cursor = steps_of(mixture_of([50, 20], [8, 4]), Cursor(), 30)
    grown = mixture_of([50, 20, 30], [8, 4, 4])
    after, _ = steps_of(grown, cursor, 60)
    for member, count in ((0, 50), (1, 20), (2, 30)):
        drawn = [row for first, *rows in before + after if first == member for row in rows]
        fresh = StreamOrder(f"s{member}", count, OrderRule(seed=3))
        assert drawn == fresh.draw(0, len(drawn), slice(0, len(drawn))).rows.tolist()


def test_every_sample_of_every_bucket_is_seen_equally_often() -> None:
    """Weights in proportion to rows: after many steps all streams did as many epochs."""
    rows, sizes = [1000, 37, 5], [64, 16, 8]
    cursor = mixture_of(rows, sizes).cursor_at(50_000)
    epochs = [cursor.positions[f"s{number}"] / count for number, count in enumerate(rows)]
    assert max(epochs) / min(epochs) < 1.01


def test_weights_speak_of_samples() -> None:
    cursor = mixture_of([500, 500], [64, 8], weights=[3, 1]).cursor_at(100_000)
    ratio = cursor.positions["s0"] / cursor.positions["s1"]
    assert abs(ratio - 3) < 0.01


def test_a_batch_that_partitions_cannot_share_is_refused() -> None:
    order = StreamOrder("s", 100, OrderRule(partitions=4))
    with pytest.raises(ConfigError, match="global batch 10 does not divide by 4 partitions"):
        Mixture([Member(order=order, weight=Fraction(1), batch_size=10)], seed=0)


def test_a_stream_with_fewer_rows_than_partitions_is_refused() -> None:
    with pytest.raises(ConfigError, match="a row for each of 4 partitions, got 3"):
        StreamOrder("s", 3, OrderRule(partitions=4))
