from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from latentcache.core.fields import Field
from latentcache.stats import ColumnStatistics, LatentStatistics, UnitStatistics, merge_arrays
from latentcache.stats.batch_moments import BatchReducer
from tests.law_examples import examples

RNG = np.random.default_rng(7)


def normal(*shape: int, mean: float = 0.0) -> NDArray[np.float32]:
    return (RNG.standard_normal(shape) + mean).astype(np.float32)


def only(arrays: dict[str, NDArray[np.generic]], name: str = "first") -> LatentStatistics:
    field = ColumnStatistics.from_arrays(arrays).primary
    assert field is not None
    return field.classes[name]  # type: ignore[index]  # tests name classes by plain text


@pytest.mark.parametrize("mean", [0.0, -3.0, 1000.0], ids=str)
@pytest.mark.parametrize(
    ("shape", "axes", "channel_axis"),
    [
        pytest.param((4, 32, 32), "CHW", 1, id="image"),
        pytest.param((5, 9, 33), "CHW", 1, id="odd-sizes"),
        pytest.param((24, 7, 61), "CHW", 1, id="columns-left-over"),
        pytest.param((10, 20), "NC", 2, id="tokens"),
        pytest.param((6, 6), "HW", None, id="no-channels"),
        pytest.param((160, 4, 4), "CHW", 1, id="wide"),
    ],
)
def test_accumulated_equals_plain_formulas(
    shape: tuple[int, ...],
    axes: str,
    channel_axis: int | None,
    mean: float,
    accumulate: Callable[..., dict[str, NDArray[np.generic]]],
) -> None:
    batches = [normal(size, *shape, mean=mean) for size in (8, 8, 3)]
    statistics = only(accumulate(batches, axes))
    pooled = np.concatenate(batches).astype(np.float64)
    rows = pooled.reshape(1, -1) if channel_axis is None else np.moveaxis(pooled, channel_axis, 0)
    rows = rows.reshape(rows.shape[0], -1)
    moments = statistics.moments
    assert_array_equal(moments.count, rows.shape[1])
    assert_allclose(moments.mean, rows.mean(axis=1), rtol=1e-12, atol=1e-14)
    assert_allclose(moments.variance, rows.var(axis=1), rtol=1e-12)
    assert_array_equal(moments.minimum, rows.min(axis=1))
    assert_array_equal(moments.maximum, rows.max(axis=1))
    assert statistics.histogram.count.sum() == rows.size
    assert (statistics.covariance is None) == (rows.shape[0] > 128)
    if statistics.covariance is not None:
        expected = np.atleast_2d(np.cov(rows, bias=True))
        assert_allclose(statistics.covariance.matrix(), expected, rtol=1e-11, atol=1e-13)
    assert statistics.num_samples == 19


BATCH = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.just(2), st.just(3), st.just(2), st.just(2)),
    elements=st.floats(-100, 100, width=32) | st.sampled_from([np.nan, np.inf]),
)


@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(BATCH, min_size=1, max_size=4), has_posterior=st.booleans())
def test_merged_units_equal_one_pooled_unit(
    batches: list[NDArray[np.float32]],
    has_posterior: bool,
    accumulate: Callable[..., dict[str, NDArray[np.generic]]],
) -> None:
    def unit(parts: list[NDArray[np.float32]]) -> dict[str, NDArray[np.generic]]:
        logvars = [np.clip(part, -40, 10) for part in parts] if has_posterior else None
        return accumulate(parts, "CTHW", name="mean", logvars=logvars, patch_size=2)

    merged, pooled = (
        merge_arrays([unit([batch]) for batch in batches]),
        unit([np.concatenate(batches)]),
    )
    assert merged.keys() == pooled.keys()
    for name, array in pooled.items():
        if np.issubdtype(array.dtype, np.integer):
            assert_array_equal(merged[name], array, err_msg=name)
        else:
            # A sum of squares of values up to 100 is exact to 1e-12 of their power.
            scale = 1e4 * sum(batch.size for batch in batches)
            atol = 1e-12 * scale
            assert_allclose(merged[name], array, rtol=1e-12, atol=atol, err_msg=name)


def test_first_latent_frame_and_the_rest_are_apart(
    accumulate: Callable[..., dict[str, NDArray[np.generic]]],
) -> None:
    clips = normal(4, 3, 5, 6, 6)
    clips[:, :, 0] += 10
    arrays = accumulate([clips], "CTHW", pixels_per_sample=17 * 48 * 48)
    first, rest = only(arrays), only(arrays, "rest")
    assert_allclose(first.moments.mean, clips[:, :, 0].mean(axis=(0, 2, 3)), rtol=1e-5)
    assert_allclose(rest.moments.mean, clips[:, :, 1:].mean(axis=(0, 2, 3, 4)), atol=1e-6)
    assert (first.num_frames, rest.num_frames) == (4, 16)
    field = ColumnStatistics.from_arrays(arrays).primary
    assert field is not None
    assert field.pooled.num_samples == 4
    assert field.pooled.num_frames == 20
    assert field.pooled.num_pixels == 4 * 17 * 48 * 48
    assert_array_equal(field.pooled.moments.count, clips[:, 0].size)


@pytest.mark.parametrize("cuts", [(1,), (2, 3), (1, 2, 3, 4, 5)], ids=str)
def test_a_clip_added_in_pieces_counts_as_one(
    cuts: tuple[int, ...], make_field: Callable[..., Field]
) -> None:
    fields = [make_field("mean", "CTHW"), make_field("logvar", "CTHW")]
    clips = [{name: normal(1, 3, 6, 4, 4) for name in ("mean", "logvar")} for _ in range(2)]
    whole = UnitStatistics(fields, "gaussian", pixels_per_sample=100)
    pieces = UnitStatistics(fields, "gaussian", pixels_per_sample=100)
    for clip in clips:
        whole.add(clip)
        bounds = [0, *cuts, 6]
        for start, stop in pairwise(bounds):
            piece = {name: values[:, :, start:stop] for name, values in clip.items()}
            pieces.add(piece, is_continued=start > 0)
    for name, expected in whole.arrays().items():
        assert_allclose(pieces.arrays()[name], expected, rtol=1e-10, atol=1e-12, err_msg=name)
    assert only(pieces.arrays(), "rest").num_samples == 2


def test_an_image_is_a_first_frame(
    accumulate: Callable[..., dict[str, NDArray[np.generic]]],
) -> None:
    image, clip = normal(2, 3, 4, 4), normal(2, 3, 1, 4, 4)
    assert all(".first." in key for key in accumulate([image]))
    assert all(".first." in key for key in accumulate([clip], "CTHW"))


def test_nonfinite_values_are_counted_and_left_out(
    accumulate: Callable[..., dict[str, NDArray[np.generic]]],
) -> None:
    whole = normal(4, 3, 8, 8)
    broken = whole.copy()
    broken[1, 2, 3, 3:6] = [np.nan, np.inf, -np.inf]
    statistics = only(accumulate([broken, whole], patch_size=2))
    assert_array_equal(statistics.moments.num_nonfinite, [0, 0, 3])
    kept = np.concatenate([broken, whole]).astype(np.float64)
    kept[~np.isfinite(kept)] = np.nan
    assert_allclose(statistics.moments.mean, np.nanmean(kept, axis=(0, 2, 3)), rtol=1e-12)
    assert statistics.histogram.count.sum() == kept.size - 3
    assert statistics.packed is not None
    assert statistics.packed.num_nonfinite.sum() == 3
    assert statistics.covariance is not None
    columns = kept.swapaxes(0, 1).reshape(3, -1)
    columns = columns[:, ~np.isnan(columns).any(axis=0)]
    assert_allclose(statistics.covariance.matrix(), np.cov(columns, bias=True), rtol=1e-11)


def test_packed_channels_are_those_of_pixel_unshuffle(
    accumulate: Callable[..., dict[str, NDArray[np.generic]]],
) -> None:
    torch = pytest.importorskip("torch")
    batches = [normal(3, 5, 8, 12) * np.arange(1, 97, dtype=np.float32).reshape(8, 12)] * 2
    statistics = only(accumulate(batches, patch_size=2))
    packed = torch.pixel_unshuffle(torch.from_numpy(np.concatenate(batches)).double(), 2)
    assert statistics.packed is not None
    assert_allclose(statistics.packed.mean, packed.mean((0, 2, 3)), rtol=1e-11, atol=1e-13)
    assert_allclose(statistics.packed.variance, packed.var((0, 2, 3), correction=0), rtol=1e-11)
    assert_array_equal(statistics.packed.maximum, packed.amax((0, 2, 3)))


@given(apart=st.floats(0.0, 1e6), offset=st.floats(-1e4, 1e4), seed=st.integers(0, 99))
def test_phases_of_a_patch_that_lie_far_apart_lose_no_digits(
    apart: float, offset: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    phases = np.array([0.0, apart, -apart, 2 * apart], np.float64)
    values = rng.normal(size=(6, 4, 3, 35)) + phases[:, None, None] + offset
    values_NCP = values.reshape(24, 3, 35).astype(np.float32)
    exact = values_NCP.astype(np.float64).reshape(6, 4, 3, 35)
    reducer = BatchReducer(3, num_phases=4, has_covariance=True)
    low, high = exact.min(axis=(0, 3)), exact.max(axis=(0, 3))
    moments, packed, comoments = reducer.reduce(values_NCP, low, high)
    assert packed is not None
    assert comoments is not None
    assert_allclose(packed.std, exact.std(axis=(0, 3)).T.ravel(), rtol=1e-9)
    assert_allclose(moments.std, exact.std(axis=(0, 1, 3)), rtol=1e-9)
    flat = exact.transpose(2, 0, 1, 3).reshape(3, -1)
    scale = np.abs(flat.var(axis=1)).max() * flat.shape[1]
    expected = np.cov(flat, bias=True) * flat.shape[1]
    assert_allclose(comoments.comoment, expected, atol=1e-9 * scale)


def test_a_latent_that_cannot_be_patchified_is_refused(
    accumulate: Callable[..., dict[str, NDArray[np.generic]]],
) -> None:
    with pytest.raises(ValueError, match="multiples of 2"):
        accumulate([normal(1, 4, 5, 4)], patch_size=2)


def test_a_unit_without_rows_has_no_arrays(make_field: Callable[..., Field]) -> None:
    unit = UnitStatistics([make_field()], "point")
    unit.add({"mean": np.empty((0, 4, 8, 8), dtype=np.float32)})
    assert unit.arrays() == {}
    assert merge_arrays([unit.arrays()]) == {}


def test_a_stored_logvar_is_the_posterior(make_field: Callable[..., Field]) -> None:
    mean, logvar = normal(2, 4, 8, 8), normal(2, 4, 8, 8)
    stored = UnitStatistics([make_field(), make_field("logvar")], "gaussian")
    stored.add({"mean": mean, "logvar": logvar})
    given_apart = UnitStatistics([make_field()], "gaussian")
    given_apart.add({"mean": mean}, logvar)
    ours, theirs = stored.arrays(), given_apart.arrays()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert_array_equal(array, theirs[name])


def test_a_logvar_without_a_posterior_is_refused(make_field: Callable[..., Field]) -> None:
    with pytest.raises(ValueError, match="posterior_logvar must be None"):
        UnitStatistics([make_field()], "point").add(
            {"mean": normal(1, 1, 2, 2)}, normal(1, 1, 2, 2)
        )


def test_a_batch_of_other_axes_is_refused(make_field: Callable[..., Field]) -> None:
    with pytest.raises(ValueError, match="mean must have axes BCHW"):
        UnitStatistics([make_field()], "point").add({"mean": normal(4, 8, 8)})


def test_posterior_of_drawn_samples_is_that_of_their_means(
    make_field: Callable[..., Field],
) -> None:
    mean, logvar = normal(32, 3, 16, 16), normal(32, 3, 16, 16, mean=-1.0)
    drawn = mean + np.exp(0.5 * logvar) * normal(*mean.shape)
    means = UnitStatistics([make_field()], "gaussian")
    means.add({"mean": mean}, logvar)
    expected = only(means.arrays())
    assert expected.posterior is not None
    for known_mean, tolerance in ((mean, 1e-12), (None, 0.02)):
        unit = UnitStatistics([make_field("sample")], "gaussian")
        unit.add({"sample": drawn}, logvar, known_mean)
        statistics = only(unit.arrays())
        assert statistics.posterior is not None
        assert_allclose(statistics.posterior.variance, expected.posterior.variance, rtol=1e-12)
        assert_allclose(statistics.posterior.kl_sum, expected.posterior.kl_sum, rtol=tolerance)
        total = expected.latent_variance(is_sampled=False)
        assert_allclose(statistics.latent_variance(is_sampled=True), total, rtol=0.02)


def test_samples_joined_along_their_tokens_count_as_they_would_alone() -> None:
    fields = (
        Field(name="z", kind="point", axes="NC", channels=8, dtype="float16"),
        Field(name="lengths", kind="aux", axes="K", channels=None, dtype="int32"),
    )
    draw = np.random.default_rng(0)
    rows = [draw.normal(size=(count, 8)).astype(np.float32) for count in (3, 5, 2)]
    alone, joined = UnitStatistics(fields, "point"), UnitStatistics(fields, "point")
    for row in rows:
        alone.add({"z": row[None], "lengths": np.array([[len(row)]])})
    lengths = np.array([[len(row) for row in rows]])
    joined.add({"z": np.concatenate(rows)[None], "lengths": lengths}, num_samples=3)
    found, expected = joined.arrays(), alone.arrays()
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6, err_msg=name)
