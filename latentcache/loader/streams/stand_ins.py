"""Which row stands in for one that a column lacks: near it, so that no other tar is needed."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from latentcache.core.seeds import keyed_digests, keyed_uint64
from latentcache.loader.index.column_units import Flags
from latentcache.loader.order.epoch_order import StreamOrder
from latentcache.loader.order.feistel import Indices, Words, nth_words
from latentcache.loader.order.shard_windows import Span
from latentcache.loader.select.selection import Selection

_MAX_TRIES = 64
"""Keyed rows tried before all are looked at in order."""

_ROWS_AT_ONCE = 1 << 16
_SPANS_KEPT = 256


class StandIns:
    """Rows that stand in for rows a stream lacks: of the same block, else window, else lane."""

    def __init__(
        self, selection: Selection, is_present: Callable[[Indices], Flags], order: StreamOrder
    ) -> None:
        """Remember where to look.

        Args:
            selection: Of the stream.
            is_present: Which places in the run have a sample in every column.
            order: Of the stream: says which rows are read together.
        """
        self._selection, self._is_present, self._order = selection, is_present, order
        self._next_present = lru_cache(maxsize=_SPANS_KEPT)(self._find_next)

    def find(self, indices: Indices, draws: Indices) -> Indices:
        """Return the places in the run of the rows that stand in.

        Keyed by the draw as well, so that no sample stands in for another for ever, and tried one
        after the other, so that a row that is lost later changes only where it stood in itself.

        Args:
            indices: Of the selected rows that are lacking.
            draws: How many times the order had come by before, for each.
        """
        pairs = list(zip(indices.tolist(), draws.tolist(), strict=True))
        if self._order.rule.version == 1:
            return np.array([self._find_as_before(*pair) for pair in pairs], np.int64)
        names = ("stand-in", self._order.name)
        endings = ((str(index), str(draw)) for index, draw in pairs)
        digests = keyed_digests(self._order.rule.seed, names, endings)
        keys = np.frombuffer(b"".join(digests), "<u8")
        # Rows that are looked for among the same others are looked for at once.
        together: dict[tuple[Span, ...], list[int]] = {}
        for place, pair in enumerate(pairs):
            together.setdefault(self._nearest(*pair), []).append(place)
        found = np.empty(len(pairs), np.int64)
        for spans, places in together.items():
            found[places] = self._drawn(spans, keys[places])
        return found

    def _nearest(self, index: int, draw: int) -> tuple[Span, ...]:
        """Return the rows around one among which one is present."""
        for spans in self._order.around(index, draw):
            if self._next_present(spans, 0) >= 0:
                return spans
        raise AssertionError("a stream without a present row is refused")

    def _drawn(self, spans: tuple[Span, ...], keys: Words) -> Indices:
        """Return for each key the first row present of those that it draws."""
        total = sum(stop - start for start, stop in spans)
        found, left = np.empty(len(keys), np.int64), np.arange(len(keys))
        for attempt in range(_MAX_TRIES):
            numbers = (nth_words(attempt, keys[left]) % np.uint64(total)).astype(np.int64)
            rows = self._rows(spans, numbers)
            is_present = self._is_present(rows)
            found[left[is_present]] = rows[is_present]
            left = left[~is_present]
            if not len(left):
                return found
        first = (nth_words(0, keys[left]) % np.uint64(total)).astype(np.int64)
        found[left] = [self._find_next(spans, number) for number in first.tolist()]
        return found

    def _find_as_before(self, index: int, draw: int) -> int:
        """Return what stood in, anywhere in the stream, in order version 1."""
        seed, name, total = self._order.rule.seed, self._order.name, self._order.num_rows
        for attempt in range(_MAX_TRIES):
            number = keyed_uint64(seed, "substitute", name, index, draw, attempt)
            rows = self._selection.rows_at(np.array([number % total]))
            if self._is_present(rows)[0]:
                return int(rows[0])
        return self._find_next(((0, total),), index)

    def _rows(self, spans: tuple[Span, ...], numbers: Indices) -> Indices:
        """Return the places in the run of rows, by their numbers among those of the spans."""
        starts = np.array([start for start, _ in spans])
        first = np.cumsum([0, *(stop - start for start, stop in spans)])
        span = np.searchsorted(first, numbers, side="right") - 1
        return self._selection.rows_at(starts[span] + numbers - first[span])

    def _find_next(self, spans: tuple[Span, ...], number: int) -> int:
        """Return the first row from a number on, around all of them, that is present, or -1."""
        total = sum(stop - start for start, stop in spans)
        for offset in range(0, total, _ROWS_AT_ONCE):
            length = min(_ROWS_AT_ONCE, total - offset)
            rows = self._rows(spans, (number + offset + np.arange(length)) % total)
            present = np.flatnonzero(self._is_present(rows))
            if len(present):
                return int(rows[present[0]])
        return -1
