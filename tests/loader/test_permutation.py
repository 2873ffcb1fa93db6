import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.loader.order import feistel as permutation
from latentcache.loader.order.feistel import Permutation

PINNED = [280, 35, 864, 921, 211, 85, 901, 434]


@given(num=st.integers(1, 5000), seed=st.integers(-(2**63), 2**63 - 1))
def test_every_index_comes_once_and_goes_back(num: int, seed: int) -> None:
    permutation = Permutation(num, seed, "stream", 0)
    image = permutation(np.arange(num))
    assert np.array_equal(np.sort(image), np.arange(num))
    assert np.array_equal(permutation.inverse(image), np.arange(num))


@given(num=st.integers(2**40, 2**62), index=st.integers(0, 2**40 - 1))
def test_ranges_that_no_memory_could_hold_are_permuted(num: int, index: int) -> None:
    permutation = Permutation(num, 7, "stream")
    image = permutation(np.array([index]))
    assert 0 <= image[0] < num
    assert permutation.inverse(image)[0] == index


@pytest.mark.parametrize("num", [2, 3, 5, 16, 100])
def test_each_index_lands_everywhere_equally_often(num: int) -> None:
    """Chi-square of places over many epochs stays within four deviations."""
    epochs = 800
    counts = np.zeros((num, num))
    for epoch in range(epochs):
        counts[np.arange(num), Permutation(num, 3, "s", epoch)(np.arange(num))] += 1
    expected = epochs / num
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = (num - 1) ** 2
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5


def test_neighbours_do_not_stay_together() -> None:
    image = Permutation(100_000, 1, "s", 0)(np.arange(100_000))
    assert abs(np.corrcoef(image[:-1], image[1:])[0, 1]) < 0.01
    assert (np.abs(np.diff(image)) == 1).sum() < 20


def test_the_order_is_pinned_for_ever() -> None:
    """Runs resume by it: whoever changes it raises ``ORDER_VERSION``."""
    image = Permutation(1000, 0, "a", 0)(np.arange(8))
    assert image.tolist() == PINNED


@pytest.mark.parametrize("num", [2, 3, 100_000, 2**20 + 1])
def test_tabulated_rounds_give_what_computed_ones_do(
    num: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    indices = np.random.default_rng(0).integers(0, num, 500)
    tabulated = Permutation(num, 3, "stream", 1)(indices)
    monkeypatch.setattr(permutation, "_MAX_TABLE_BITS", 0)
    assert np.array_equal(Permutation(num, 3, "stream", 1)(indices), tabulated)
