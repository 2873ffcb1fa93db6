"""A bitmap answers as the list of its rows would."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.loader.select.bitmap import BitmapWriter, RowBitmap


@given(
    flags=st.lists(st.booleans(), min_size=1, max_size=400),
    cuts=st.lists(st.integers(0, 400), max_size=5),
)
def test_a_bitmap_answers_as_the_list_of_its_rows_would(flags: list[bool], cuts: list[int]) -> None:
    array = np.array(flags)
    writer = BitmapWriter()
    for piece in np.split(array, sorted(cuts)):
        writer.add(piece)
    bitmap = writer.finish()
    rows, places = np.flatnonzero(array), np.arange(array.sum())
    assert (bitmap.num_rows, bitmap.num_set) == (len(flags), len(rows))
    assert bitmap.rows().tolist() == rows.tolist()
    assert bitmap.select(places[::-1]).tolist() == rows[::-1].tolist()
    assert bitmap.contains(np.arange(len(flags))).tolist() == flags
    stops = np.arange(len(flags) + 1)
    assert bitmap.num_before(stops).tolist() == [int(array[:stop].sum()) for stop in stops]
    again = RowBitmap(bitmap.packed.copy(), len(flags))
    assert again.digest() == bitmap.digest()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999, 1.0])
def test_rows_are_found_in_sets_of_any_density(share: float) -> None:
    array = np.random.default_rng(0).random(100_003) < share
    bitmap = RowBitmap(np.packbits(array), len(array))
    rows = np.flatnonzero(array)
    assert np.array_equal(bitmap.select(np.arange(len(rows))), rows)
