from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.loader.order.schedule import Schedule

shares_lists = st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any)


@given(shares=shares_lists, seed=st.integers(0, 99), steps=st.integers(0, 300))
def test_counts_need_no_replay(shares: list[int], seed: int, steps: int) -> None:
    schedule = Schedule(shares, seed=seed)
    replayed = Counter(schedule.stream_at(step) for step in range(steps))
    for stream in range(len(shares)):
        assert schedule.num_served(stream, steps) == replayed[stream]


@given(shares=shares_lists, seed=st.integers(0, 99), steps=st.integers(1, 10**15))
def test_shares_are_kept_to_a_few_steps_at_any_time(
    shares: list[int], seed: int, steps: int
) -> None:
    schedule = Schedule(shares, seed=seed)
    for stream, share in enumerate(shares):
        exact = steps * share / sum(shares)
        # Discrepancy of the golden sequence grows with log(steps) only.
        allowed = 3 + steps.bit_length() + exact * 1e-12
        assert abs(schedule.num_served(stream, steps) - exact) <= allowed


def test_a_stream_comes_at_even_intervals() -> None:
    schedule = Schedule([9, 1], seed=4)
    steps = [step for step in range(5000) if schedule.stream_at(step) == 1]
    gaps = {after - before for before, after in pairwise(steps)}
    assert len(gaps) <= 3
    assert max(gaps) <= 18


def test_a_stream_of_weight_zero_never_comes() -> None:
    schedule = Schedule([1, 0, 1], seed=0)
    assert {schedule.stream_at(step) for step in range(500)} == {0, 2}


@pytest.mark.parametrize("shares", [[], [0.0], [1.0, -1.0], [float("nan")], [float("inf"), 1.0]])
def test_weights_that_say_nothing_are_refused(shares: list[float]) -> None:
    with pytest.raises(ConfigError, match="weights must be finite"):
        Schedule(shares, seed=0)
