"""Windows of shards: an epoch that goes through whole shards, a few at a time.

A *block* is the selected rows of one shard, as many as there are. An epoch takes the blocks in
permuted order, some neighbours at a time (a *window*), and permutes the rows of a window among
each other: so each shard is needed once an epoch, whatever the filter, and no more than a window's
at a time. Sizes differ, so where blocks begin is a table, 8 bytes for each shard.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latentcache.loader.order.feistel import Bijection, Indices, keyed_permutation

_EPOCHS_KEPT = 4

Span = tuple[int, int]
"""Consecutive rows: the first, and the one after the last."""


@dataclass(frozen=True, slots=True)
class WindowView:
    """Where in an epoch a place of a lane is.

    Attributes:
        epoch: Number of the epoch.
        window: Number of the window in it.
        share: How much of the window comes before, in [0, 1).
        blocks: Rows of its blocks.
        following: Rows of the next window's, which may be of the next epoch.
    """

    epoch: int
    window: int
    share: float
    blocks: tuple[Span, ...]
    following: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class _Epoch:
    """The blocks of an epoch.

    Attributes:
        blocks: Numbers of the blocks in the epoch's order.
        starts: Places at which each of them begins, and the end.
        windows: Places at which each window begins, and the end.
    """

    blocks: Indices
    starts: Indices
    windows: Indices


class ShardWindows:
    """The blocks of a lane, and their order in each epoch; rows are numbered from 0."""

    def __init__(self, bounds: Indices, num_blocks: int, *, seed: int, name: str) -> None:
        """Remember the blocks.

        Args:
            bounds: Row at which each block begins, ascending, and the number of rows.
            num_blocks: Of a window.
            seed: Of the run.
            name: Of the lane.
        """
        self._bounds, self._num_blocks = bounds, num_blocks
        self._seed, self._name = seed, name
        self._epochs: OrderedDict[int, _Epoch] = OrderedDict()

    def rows(self, places: Indices, epoch: int) -> Indices:
        """Return the rows at some places of an epoch."""
        order = self._epoch(epoch)
        windows = np.searchsorted(order.windows, places, side="right") - 1
        rows = np.empty_like(places)
        for window in np.unique(windows).tolist():
            now = windows == window
            start, stop = order.windows[window : window + 2].tolist()
            shuffled = keyed_permutation(
                stop - start, self._seed, self._name, epoch, "rows", window, version=2
            )(places[now] - start)
            first = window * self._num_blocks
            starts = order.starts[first : first + self._num_blocks] - start
            block = np.searchsorted(starts, shuffled, side="right") - 1
            rows[now] = self._bounds[order.blocks[first + block]] + shuffled - starts[block]
        return rows

    def view(self, place: int, epoch: int) -> WindowView:
        """Return the window that a place of an epoch is in."""
        order = self._epoch(epoch)
        window = int(np.searchsorted(order.windows, place, side="right")) - 1
        start, stop = order.windows[window : window + 2].tolist()
        is_last = window == len(order.windows) - 2
        following = self._blocks(epoch + 1, 0) if is_last else self._blocks(epoch, window + 1)
        share = (place - start) / (stop - start)
        return WindowView(epoch, window, share, self._blocks(epoch, window), following)

    def around(self, row: int, epoch: int) -> Iterator[tuple[Span, ...]]:
        """Yield the block of a row, and the window that it is in."""
        block = int(np.searchsorted(self._bounds, row, side="right")) - 1
        yield (self._span(block),)
        place = int(self._permutation(epoch).inverse(np.array([block]))[0])
        yield self._blocks(epoch, place // self._num_blocks)

    def _blocks(self, epoch: int, window: int) -> tuple[Span, ...]:
        first = window * self._num_blocks
        blocks = self._epoch(epoch).blocks[first : first + self._num_blocks]
        return tuple(self._span(block) for block in blocks.tolist())

    def _span(self, block: int) -> Span:
        return int(self._bounds[block]), int(self._bounds[block + 1])

    def _epoch(self, number: int) -> _Epoch:
        found = self._epochs.get(number)
        if found is None:
            blocks = self._permutation(number)(np.arange(len(self._bounds) - 1))
            sizes = np.diff(self._bounds)[blocks]
            starts = np.append(np.zeros(1, np.int64), np.cumsum(sizes))
            windows = np.append(starts[: -1 : self._num_blocks], starts[-1])
            found = self._epochs[number] = _Epoch(blocks, starts, windows)
            if len(self._epochs) > _EPOCHS_KEPT:
                self._epochs.popitem(last=False)
        return found

    def _permutation(self, epoch: int) -> Bijection:
        return keyed_permutation(
            len(self._bounds) - 1, self._seed, self._name, epoch, "blocks", version=2
        )
