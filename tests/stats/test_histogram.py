import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from latentcache.stats import Histogram
from latentcache.stats.histogram import NUM_BINS, HistogramCounter, bin_edges

VALUES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.just(2), st.integers(1, 8)),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def count(values: NDArray[np.float32]) -> Histogram:
    counter = HistogramCounter(values.shape[1])
    counter.add(values)
    return counter.result()


@given(VALUES)
def test_every_value_lies_in_its_bin(values: NDArray[np.float32]) -> None:
    histogram = count(values)
    for channel in range(2):
        low, high, counts = histogram.channel(channel)
        channel_values = values[:, channel].astype(np.float64).ravel()
        for start, stop, number in zip(low, high, counts, strict=True):
            is_negative = stop <= 0
            inside = (
                (channel_values > start) & (channel_values <= stop) & np.signbit(channel_values)
                if is_negative
                else (channel_values >= start)
                & (channel_values < stop)
                & ~np.signbit(channel_values)
            )
            assert inside.sum() == number
        assert counts.sum() == channel_values.size
        assert (np.diff(low) > 0).all() or low.size < 2


@given(VALUES, VALUES)
def test_merged_equals_pooled_exactly(
    ours: NDArray[np.float32], theirs: NDArray[np.float32]
) -> None:
    merged = count(ours).merge(count(theirs))
    counter = HistogramCounter(2)
    counter.add(ours)
    counter.add(theirs)
    assert_array_equal(merged.cell, counter.result().cell)
    assert_array_equal(merged.count, counter.result().count)


@given(VALUES)
def test_counting_with_holes_agrees_with_counting_without(values: NDArray[np.float32]) -> None:
    plain, holed = HistogramCounter(2), HistogramCounter(2)
    plain.add(values)
    broken = np.concatenate([values, np.full_like(values, np.nan), np.full_like(values, np.inf)])
    holed.add_finite(broken)
    assert_array_equal(plain.result().cell, holed.result().cell)
    assert_array_equal(plain.result().count, holed.result().count)


def test_bins_tile_the_finite_floats() -> None:
    positive = np.arange(0x7F8)
    low, high = bin_edges(positive)
    assert low[0] == 0.0
    assert high[-1] == 2.0**128
    assert_array_equal(low[1:], high[:-1])
    negative_low, negative_high = bin_edges(positive + NUM_BINS // 2)
    assert_array_equal(negative_low, -high)
    assert_array_equal(negative_high, -low)
