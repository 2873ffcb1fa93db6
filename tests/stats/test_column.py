from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from latentcache.core.fields import Field
from latentcache.stats import ColumnStatistics, UnitStatistics, merge_arrays

RNG = np.random.default_rng(5)
Accumulate = Callable[..., dict[str, NDArray[np.generic]]]


def clips(*, size: int = 8) -> NDArray[np.float32]:
    return RNG.standard_normal((3, 4, 2, size, size)).astype(np.float32)


def test_one_part_comes_back_as_it_is(accumulate: Accumulate) -> None:
    values = clips()
    part = accumulate([values], "CTHW", name="mean", logvars=[values], patch_size=2)
    merged = merge_arrays([part])
    assert merged.keys() == part.keys()
    for name, array in part.items():
        assert merged[name].dtype == array.dtype
        assert merged[name].tobytes() == array.tobytes()
    again = merge_arrays([{}, part, {}, {"present": np.ones(3)}])
    assert all(again[name].tobytes() == array.tobytes() for name, array in part.items())


def test_a_merged_part_merges_on_as_if_never_stopped(accumulate: Accumulate) -> None:
    parts = [accumulate([clips()], "CTHW") for _ in range(4)]
    straight = merge_arrays(parts)
    resumed = merge_arrays([merge_arrays(parts[:2]), *parts[2:]])
    for name, array in straight.items():
        assert resumed[name].tobytes() == array.tobytes()


def test_names_may_come_without_their_prefix(accumulate: Accumulate) -> None:
    part = accumulate([clips()], "CTHW")
    bare = {name.removeprefix("stats."): array for name, array in part.items()}
    merged = merge_arrays([bare, part])
    assert merged.keys() == part.keys()
    assert_array_equal(merged["stats.z.first.count"], 2 * part["stats.z.first.count"])
    assert ColumnStatistics.from_arrays(bare).primary is not None


def test_nothing_merges_to_nothing() -> None:
    assert merge_arrays([]) == {}
    statistics = ColumnStatistics.from_arrays({})
    assert statistics.primary is None


def test_units_of_images_and_clips_pool_where_they_meet(accumulate: Accumulate) -> None:
    image, clip = clips()[:, :, :1], clips(size=4)
    merged = merge_arrays([accumulate([part], "CTHW") for part in (image, clip)])
    field = ColumnStatistics.from_arrays(merged).primary
    assert field is not None
    assert field.classes["first"].num_samples == 6
    assert field.classes["rest"].num_samples == 3
    assert field.pooled.num_samples == 6
    values = np.concatenate([part.swapaxes(0, 1).reshape(4, -1) for part in (image, clip)], axis=1)
    assert_allclose(field.pooled.moments.std, values.astype(np.float64).std(axis=1), rtol=1e-12)


def test_only_some_units_of_a_wide_field_may_keep_covariance(accumulate: Accumulate) -> None:
    values = RNG.standard_normal((2, 200, 4, 4)).astype(np.float32)
    parts = [accumulate([values], max_covariance_channels=limit) for limit in (128, 256)]
    field = ColumnStatistics.from_arrays(merge_arrays(parts)).primary
    assert field is not None
    assert field.pooled.covariance is not None
    assert_array_equal(field.pooled.covariance.count, [32])
    assert_array_equal(field.pooled.moments.count, 64)


def test_statistics_of_other_encodings_are_refused(accumulate: Accumulate) -> None:
    four, eight = (np.zeros((1, width, 2, 2), np.float32) for width in (4, 8))
    with pytest.raises(ValueError, match="channels must be alike"):
        merge_arrays([accumulate([four]), accumulate([eight])])
    codes = accumulate([four.astype(np.int64)], kind="indices")
    with pytest.raises(ValueError, match="z must be codes in all parts or in none"):
        merge_arrays([accumulate([four]), codes])


def test_each_field_of_a_hierarchy_has_its_own(make_field: Callable[..., Field]) -> None:
    fields = [make_field(name, kind="point") for name in ("z0", "z1")]
    unit = UnitStatistics(fields, "hierarchical")
    values = clips()[:, :, 0]
    unit.add({"z0": values, "z1": values[:, :2, ::2]})
    statistics = ColumnStatistics.from_arrays(unit.arrays())
    assert statistics.latents["z1"].pooled.moments.mean.shape == (2,)
    assert statistics.primary is statistics.latents["z0"]
