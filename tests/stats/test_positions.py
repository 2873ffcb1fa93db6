"""Moments per position: merged equal pooled, grid by grid, and wide features keep a covariance."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.fields import Field
from latentcache.stats import ColumnStatistics, UnitStatistics, merge_arrays
from latentcache.stats.positions import PositionMoments

CHANNELS = 5


def unit_arrays(batches: list[np.ndarray], axes: str = "CHW", channels: int = CHANNELS) -> dict:
    field = Field(name="z", kind="point", axes=axes, channels=channels, dtype="float32")
    unit = UnitStatistics([field], "point", has_positions=True, max_covariance_channels=1024)
    for batch in batches:
        unit.add({"z": batch})
    return unit.arrays()


def drawn(seed: int, count: int, grid: tuple[int, ...] = (3, 4)) -> np.ndarray:
    draw = np.random.default_rng(seed)
    ramp = np.arange(np.prod(grid)).reshape(grid)
    values = draw.normal(size=(count, CHANNELS, *grid)) * (1 + ramp) + 10 * ramp
    return values.astype(np.float32)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 99))
def test_merged_moments_of_positions_equal_pooled_ones(sizes: list[int], seed: int) -> None:
    batches = [drawn(seed + number, size) for number, size in enumerate(sizes)]
    merged = merge_arrays(unit_arrays([batch]) for batch in batches)
    pooled = ColumnStatistics.from_arrays(merged).latents["z"].pooled.positions[3, 4]
    whole = np.concatenate(batches).astype(np.float64)
    assert int(pooled.count[0]) == len(whole)
    np.testing.assert_allclose(pooled.mean, whole.mean(0), rtol=1e-9)
    np.testing.assert_allclose(pooled.std, whole.std(0), rtol=1e-6, atol=1e-9)


def test_grids_are_kept_apart_and_a_list_of_tokens_is_one() -> None:
    arrays = unit_arrays([drawn(0, 2), drawn(1, 3, (2, 2))])
    positions = ColumnStatistics.from_arrays(arrays).latents["z"].pooled.positions
    assert {grid: int(each.count[0]) for grid, each in positions.items()} == {(3, 4): 2, (2, 2): 3}
    tokens = drawn(0, 2).reshape(2, CHANNELS, -1).swapaxes(1, 2)
    listed = ColumnStatistics.from_arrays(unit_arrays([tokens], "NC")).latents["z"].pooled.positions
    np.testing.assert_array_equal(listed[12,].mean, positions[3, 4].mean.reshape(CHANNELS, -1))


def test_a_sample_that_is_not_finite_is_left_out() -> None:
    values = drawn(0, 4)
    values[2, 0, 0, 0] = np.nan
    found = PositionMoments.from_values(values)
    assert int(found.count[0]) == 3
    np.testing.assert_allclose(found.mean, values[[0, 1, 3]].astype(np.float64).mean(0))


def test_wide_features_have_a_covariance() -> None:
    wide = np.random.default_rng(0).normal(size=(3, 130, 2, 2)).astype(np.float32)
    arrays = unit_arrays([wide], channels=130)
    found = ColumnStatistics.from_arrays(merge_arrays([arrays, arrays])).latents["z"].pooled
    assert found.covariance is not None
    assert found.covariance.matrix().shape == (130, 130)
