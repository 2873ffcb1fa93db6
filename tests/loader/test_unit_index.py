"""Spans and points count places as sets would."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latentcache.loader.index.unit_index import join_spans, points_outside

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=8)


@given(spans=SPANS, points=st.lists(st.integers(0, 90), max_size=20))
def test_joined_spans_hold_the_same_places_and_know_who_is_outside(
    spans: list[tuple[int, int]], points: list[int]
) -> None:
    given_spans = np.array([(start, start + size) for start, size in spans], np.int64)
    joined = join_spans(given_spans.reshape(-1, 2))
    inside = {place for start, size in spans for place in range(start, start + size)}
    assert [place for start, stop in joined for place in range(start, stop)] == sorted(inside)
    outside = points_outside(joined, np.array(points, np.int64))
    assert outside.tolist() == sorted(set(points) - inside)
