"""Intervals hold what they should as often as they say, and pairs cancel what is shared."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcache.compare.metrics.interval import difference, estimate


def test_a_mean_lies_in_its_interval_about_as_often_as_the_level() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        found = estimate(generator.normal(3.0, 2.0, size=40), seed=trial)
        hits += found.low <= 3.0 <= found.high
    assert 0.87 <= hits / 200 <= 0.99


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 60))
def test_a_space_beside_itself_is_equal(seed: int, count: int) -> None:
    values = np.random.default_rng(seed).normal(size=count)
    assert difference(values, values).verdict == "equal"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_a_small_difference_that_every_sample_shows_is_told_only_in_pairs(seed: int) -> None:
    values = np.random.default_rng(seed).normal(30, 4, size=50)
    after = values - 0.05
    assert difference(values, after).verdict == "lower"
    assert difference(after, values).verdict == "higher"
    assert difference(values, after, is_paired=False).verdict == "equal"


@pytest.mark.parametrize("seed", range(5))
def test_figures_that_cannot_be_negative_are_not_told_apart_by_their_bias(seed: int) -> None:
    def off_zero(means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.sqrt((means**2).mean(axis=1))

    generator = np.random.default_rng(seed)
    first, second = generator.normal(0, 1, size=(60, 8)), generator.normal(0, 3, size=(60, 8))
    # Two normalized spaces: their channels' means are all but zero, of wide and narrow values.
    found = difference(first - 0.9 * first.mean(0), second - 0.97 * second.mean(0), off_zero)
    assert found.low <= found.value <= found.high
    assert found.verdict == "equal"


def test_samples_without_a_value_are_left_out_of_both() -> None:
    first = np.array([1.0, np.nan, 3.0, 5.0])
    second = np.array([2.0, 9.0, np.nan, 6.0])
    found = difference(first, second)
    assert found.num_samples == 2
    assert found.value == pytest.approx(1.0)
    assert estimate(first).value == pytest.approx(3.0)


@pytest.mark.parametrize("values", [[], [4.0], [np.nan, np.nan]])
def test_one_sample_or_none_has_no_interval(values: list[float]) -> None:
    found = estimate(np.array(values))
    assert np.isnan(found.low)
    assert np.isnan(found.high)
    assert difference(np.array(values), np.array(values)).verdict == "unknown"


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(1).normal(size=(30, 2))
    assert estimate(values, lambda means: means[:, 1]) == estimate(values, lambda m: m[:, 1])
