from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from latentcache.stats import CodeUsage, ColumnStatistics, merge_arrays

Accumulate = Callable[..., dict[str, NDArray[np.generic]]]
CODES = hnp.arrays(np.int32, (2, 3, 4), elements=st.integers(-1, 2**18))


@given(CODES, CODES)
def test_merged_equals_pooled_exactly(ours: NDArray[np.int32], theirs: NDArray[np.int32]) -> None:
    parts = [CodeUsage.from_indices(codes, num_samples=2) for codes in (ours, theirs)]
    merged = parts[0].merge(parts[1])
    pooled = CodeUsage.from_indices(np.concatenate([ours, theirs]), num_samples=4)
    assert merged.num_samples == 4
    for name, array in pooled.arrays().items():
        assert_array_equal(merged.arrays()[name], array)


@given(CODES)
def test_counts_are_those_of_each_codebook(codes: NDArray[np.int32]) -> None:
    usage = CodeUsage.from_indices(codes, num_samples=2)
    for book in range(3):
        unique, count = np.unique(codes[:, book], return_counts=True)
        assert_array_equal(usage.code[usage.book == book], unique)
        assert_array_equal(usage.count[usage.book == book], count)


def test_uniform_use_of_a_codebook_has_its_size_as_perplexity() -> None:
    usage = CodeUsage.from_indices(np.arange(64).reshape(4, 1, 16), num_samples=4)
    assert np.exp(usage.entropy_nats(0)) == pytest.approx(64)


def test_codebooks_and_frames_are_apart(accumulate: Accumulate) -> None:
    codes = np.zeros((2, 3, 4), dtype=np.int64)
    codes[:, 1] = 5
    codes[:, :, 0] += 100
    arrays = accumulate([codes, codes], "QT", name="indices", kind="indices")
    field = ColumnStatistics.from_arrays(arrays).codes["indices"]
    assert field.classes["first"].code.tolist() == [100, 105, 100]
    assert field.classes["rest"].code.tolist() == [0, 5, 0]
    assert field.pooled.num_samples == 4
    assert field.pooled.count.sum() == 2 * codes.size


def test_a_grid_of_codes_is_one_codebook(accumulate: Accumulate) -> None:
    codes = np.arange(2 * 3 * 4 * 4, dtype=np.uint16).reshape(2, 3, 4, 4) % 7
    arrays = accumulate([codes], "THW", name="indices", kind="indices")
    pooled = ColumnStatistics.from_arrays(merge_arrays([arrays])).codes["indices"].pooled
    assert pooled.num_books == 1
    assert_array_equal(pooled.count, np.bincount(codes.ravel()))


def test_codes_that_are_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="indices must be integers"):
        CodeUsage.from_indices(np.zeros((1, 1, 2)), num_samples=1)


def test_codes_of_any_size_stay_in_their_codebook() -> None:
    codes = np.array([[[2**40 + 7, -(2**40)], [2**62, 3]], [[2**40 + 7, 3], [3, 3]]])
    usage = CodeUsage.from_indices(codes, num_samples=2)
    assert_array_equal(usage.book, [0, 0, 0, 1, 1])
    assert_array_equal(usage.code, [-(2**40), 3, 2**40 + 7, 3, 2**62])
    assert_array_equal(usage.count, [1, 1, 2, 3, 1])
    assert_array_equal(usage.merge(usage).count, 2 * usage.count)
    assert_array_equal(usage.merge(usage).code, usage.code)
