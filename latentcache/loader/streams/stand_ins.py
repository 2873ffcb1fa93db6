"""Which row stands in for one that a column lacks: near it, so that no other tar is needed."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from latentcache.core.seeds import keyed_uint64
from latentcache.loader.index.unit_index import Flags
from latentcache.loader.order.epoch_order import StreamOrder
from latentcache.loader.order.feistel import Indices, keyed_words
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

    def find(self, index: int, draw: int) -> int:
        """Return the place in the run of the row that stands in.

        Keyed by the draw as well, so that no sample stands in for another for ever, and tried one
        after the other, so that a row that is lost later changes only where it stood in itself.

        Args:
            index: Of the selected row that is lacking.
            draw: How many times the order had come by before.
        """
        seed, name = self._order.rule.seed, self._order.name
        if self._order.rule.version == 1:
            return self._find_as_before(index, draw)
        key = keyed_uint64(seed, "stand-in", name, index, draw)
        for spans in self._order.around(index, draw):
            if self._next_present(spans, 0) < 0:
                continue
            total = sum(stop - start for start, stop in spans)
            tried = (keyed_words(_MAX_TRIES, key) % np.uint64(total)).astype(np.int64)
            rows = self._rows(spans, tried)
            present = np.flatnonzero(self._is_present(rows))
            return int(rows[present[0]]) if len(present) else self._find_next(spans, int(tried[0]))
        raise AssertionError("a stream without a present row is refused")

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
