import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from latentcache.stats import Moments

VALUES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 5), st.just(3), st.integers(1, 6)),
    elements=st.floats(-1e4, 1e4, width=32) | st.sampled_from([np.nan, np.inf, -np.inf]),
)


def exact(values: NDArray[np.float32]) -> tuple[list[float], list[float]]:
    """Return means and squared deviations in extended precision."""
    means, squares = [], []
    for channel in np.moveaxis(values, 1, 0).reshape(values.shape[1], -1):
        finite = channel[np.isfinite(channel)].astype(np.longdouble)
        mean = finite.sum() / max(finite.size, 1)
        means.append(float(mean))
        squares.append(float(((finite - mean) ** 2).sum()))
    return means, squares


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_merged_equals_pooled(parts: list[NDArray[np.float32]]) -> None:
    widest = max(part.shape[2] for part in parts)
    parts = [np.resize(part, (*part.shape[:2], widest)) for part in parts if part.size] or parts[:1]
    merged = Moments.from_values(parts[0])
    for part in parts[1:]:
        merged = merged.merge(Moments.from_values(part))
    pooled = np.concatenate(parts)
    means, squares = exact(pooled)
    finite = np.where(np.isfinite(pooled), pooled, 0).astype(np.float64)
    power = np.square(finite).sum(axis=(0, 2))
    assert_allclose(merged.mean, means, rtol=1e-12, atol=1e-12 * np.sqrt(power.max(initial=0.0)))
    assert_allclose(merged.m2, squares, rtol=1e-12, atol=1e-12 * power.max(initial=0.0))
    assert_array_equal(merged.count, np.isfinite(pooled).sum(axis=(0, 2)))
    assert_array_equal(merged.num_nonfinite, (~np.isfinite(pooled)).sum(axis=(0, 2)))
    assert_array_equal(merged.minimum, Moments.from_values(pooled).minimum)
    assert_array_equal(merged.maximum, Moments.from_values(pooled).maximum)


@given(VALUES)
def test_merging_nothing_changes_no_bit(values: NDArray[np.float32]) -> None:
    moments = Moments.from_values(values)
    nothing = Moments.from_values(np.empty((0, 3, 1), dtype=np.float32))
    for merged in (moments.merge(nothing), nothing.merge(moments)):
        for ours, theirs in zip(merged.arrays().values(), moments.arrays().values(), strict=True):
            assert_array_equal(ours, theirs)


def test_a_large_offset_costs_no_digits() -> None:
    noise = np.random.default_rng(0).integers(-8, 8, (4, 2, 64)).astype(np.float64)
    near, far = Moments.from_values(noise), Moments.from_values(noise + 1e9)
    assert_allclose(far.m2, near.m2, rtol=1e-13)


def test_variance_of_nothing_is_nan_without_a_warning() -> None:
    assert np.isnan(Moments.from_values(np.empty((0, 2, 4))).variance).all()


def test_fields_of_other_widths_are_refused() -> None:
    ours, theirs = Moments.from_values(np.ones((1, 2, 3))), Moments.from_values(np.ones((1, 3, 3)))
    with pytest.raises(ValueError, match="channels must be alike"):
        ours.merge(theirs)
