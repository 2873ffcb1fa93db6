"""The order of samples: endless streams of rows, cut into global batches by arithmetic alone.

A *stream* is one bucket of one generation of one source. Its rows, ``range(num_rows)``,
are dealt into ``partitions`` lanes of consecutive rows; a lane is gone through in a keyed
order, once per epoch, for ever. A global batch takes equally many rows from each lane, lane
after lane, and rank ``r`` of ``W`` takes the ``r``-th of ``W`` equal slices. So what is in
a batch depends neither on ranks nor on threads, and with ``W`` dividing ``partitions`` a
rank reads its own lanes only.

An epoch of a lane is a permutation of all its rows, or with ``window_blocks`` set (for data
that is read in whole shards) goes through whole shards in permuted order, the rows of some
neighbours permuted among each other: see ``shard_windows``, and ``first_windows`` for runs that
were started with order version 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from latentcache.core.errors import ConfigError
from latentcache.loader.order.feistel import Indices, keyed_permutation
from latentcache.loader.order.first_windows import windowed_rows
from latentcache.loader.order.shard_windows import ShardWindows, Span, WindowView
from latentcache.loader.order.whole_numbers import whole

ORDER_VERSION = 2
"""Raised whenever the same settings would give another order or other draws; part of the state.

Since 2, blocks are shards with the rows that are selected of them, rows stand in within their
block, and draws are keyed by the stream and by the row that is replaced. A run that was started
with 1 goes on with 1."""

_AHEAD = 16_384
"""Rows computed at once while a lane is read on: 20 us a batch become 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRule:
    """What, beside its rows, decides the order of a stream; pinned in the state.

    Attributes:
        seed: Of everything that looks random.
        partitions: Lanes per stream; must divide every global batch.
        window_blocks: Blocks whose rows are shuffled together; 0 shuffles a lane whole.
        version: Of the order; an older one for runs that were started with it.
    """

    seed: int = 0
    partitions: int = 1
    window_blocks: int = 0
    version: int = ORDER_VERSION

    def __post_init__(self) -> None:
        if not -(1 << 127) <= whole(self.seed, name="seed") < 1 << 127:
            raise ConfigError(f"seed must fit into 128 bits, got {self.seed}; pass a smaller one")
        whole(self.partitions, name="partitions", least=1)
        # The name that the user knows it by; a block is a shard there.
        whole(self.window_blocks, name="window_shards", least=0)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Rows of a stream in the order asked for.

    Attributes:
        rows: In ``range(num_rows)`` of the stream.
        draws: How many times the order had gone through the row's lane before.
    """

    rows: Indices
    draws: Indices


class StreamOrder:
    """The endless order of one stream; a pure function of its arguments."""

    def __init__(
        self,
        name: str,
        num_rows: int,
        rule: OrderRule,
        *,
        block_rows: int = 1,
        block_starts: Indices | None = None,
    ) -> None:
        """Deal the rows into lanes.

        Args:
            name: What keys the order; stays the same while the store grows.
            num_rows: Rows to choose from.
            rule: Of the run.
            block_rows: Rows that are read together, on average; for order version 1.
            block_starts: First row of each block of rows that are read together, ascending;
                None where all blocks but the last have ``block_rows``.

        Raises:
            ConfigError: A lane would have no row.
        """
        if num_rows < rule.partitions:
            raise ConfigError(
                f"stream must have a row for each of {rule.partitions} partitions, got "
                f"{num_rows} rows ({name}); use fewer partitions or leave the bucket out"
            )
        self.name = name
        self.num_rows = num_rows
        self.rule = rule
        self.block_rows = block_rows
        if block_starts is None:
            block_starts = np.arange(0, num_rows, block_rows)
        self.block_starts = block_starts
        self.num_lanes = rule.partitions
        bounds = [num_rows * lane // rule.partitions for lane in range(rule.partitions + 1)]
        self._lanes = [
            _Lane(f"{name}/{lane}", (start, stop), rule, (block_rows, block_starts))
            for lane, (start, stop) in enumerate(pairwise(bounds))
        ]

    def draw(self, position: int, count: int, part: slice) -> Drawn:
        """Return a part of the global batch that starts after ``position`` samples.

        Args:
            position: Samples drawn before; a multiple of the lanes.
            count: Samples of the global batch; a multiple of the lanes.
            part: Places in the batch, from 0 to ``count``.
        """
        per_lane = count // self.num_lanes
        assert per_lane * self.num_lanes == count, f"{count} rows from {self.num_lanes} lanes"
        first = position // self.num_lanes
        pieces = []
        for lane in range(part.start // per_lane, -(-part.stop // per_lane)):
            start = max(part.start - lane * per_lane, 0)
            stop = min(part.stop - lane * per_lane, per_lane)
            pieces.append(self._lanes[lane].draw(first + start, first + stop))
        if len(pieces) == 1:
            return pieces[0]
        return Drawn(
            np.concatenate([piece.rows for piece in pieces]),
            np.concatenate([piece.draws for piece in pieces]),
        )

    def around(self, row: int, draw: int) -> Iterator[tuple[Span, ...]]:
        """Yield ever more rows around one: its block, its window, its lane, and all.

        Args:
            row: Of the stream.
            draw: How many times the order had gone through its lane before.
        """
        for lane in self._lanes:
            if lane.first_row <= row < lane.first_row + lane.num_rows:
                yield from lane.around(row, draw)
        yield ((0, self.num_rows),)

    def windows_at(self, position: int, count: int, part: slice) -> dict[int, WindowView]:
        """Return, by lane, the window from which a part of a global batch begins to be drawn."""
        per_lane, first = count // self.num_lanes, position // self.num_lanes
        lanes = range(part.start // per_lane, -(-part.stop // per_lane))
        starts = {lane: max(part.start - lane * per_lane, 0) for lane in lanes}
        return {lane: self._lanes[lane].view(first + start) for lane, start in starts.items()}


class _Lane:
    """Consecutive rows of a stream, gone through again and again."""

    def __init__(
        self, name: str, bounds: Span, rule: OrderRule, blocks: tuple[int, Indices]
    ) -> None:
        self._name, self._rule = name, rule
        self.first_row, self.num_rows = bounds[0], bounds[1] - bounds[0]
        self._block_rows, starts = blocks
        self._windows: ShardWindows | None = None
        if rule.window_blocks and rule.version > 1:
            inside = starts[(starts > bounds[0]) & (starts < bounds[1])]
            whole = np.concatenate([[bounds[0]], inside, [bounds[1]]]).astype(np.int64)
            self._windows = ShardWindows(
                whole - bounds[0], rule.window_blocks, seed=rule.seed, name=name
            )
        self._ahead = (0, Drawn(np.zeros(0, np.int64), np.zeros(0, np.int64)))
        self._next = -1

    def draw(self, start: int, stop: int) -> Drawn:
        """Return places ``start`` to ``stop`` of the endless order."""
        begin, known = self._ahead
        if not (begin <= start and stop <= begin + len(known.rows)):
            # Only who reads on profits from what lies ahead: a rank among many skips. And an
            # epoch costs what 16,000 rows do, so small lanes are not computed epochs ahead.
            ahead = min(_AHEAD, self.num_rows) if start == self._next else 0
            length = max(stop - start, ahead)
            begin, known = start, self._compute(start, start + length)
            self._ahead = (begin, known)
        self._next = stop
        inside = slice(start - begin, stop - begin)
        return Drawn(known.rows[inside], known.draws[inside])

    def _compute(self, start: int, stop: int) -> Drawn:
        rows, draws = np.empty((2, stop - start), np.int64)
        for epoch in range(start // self.num_rows, (stop - 1) // self.num_rows + 1):
            begin = epoch * self.num_rows
            first, last = max(start, begin), min(stop, begin + self.num_rows)
            inside = slice(first - start, last - start)
            rows[inside] = self._epoch_rows(np.arange(first - begin, last - begin), epoch)
            draws[inside] = epoch
        rows += self.first_row
        return Drawn(rows, draws)

    def around(self, row: int, draw: int) -> Iterator[tuple[Span, ...]]:
        """Yield the rows of the stream in a row's block, in its window, and in the lane."""
        first = self.first_row
        if self._windows is not None:
            for spans in self._windows.around(row - first, draw):
                yield tuple((start + first, stop + first) for start, stop in spans)
        yield ((first, first + self.num_rows),)

    def view(self, place: int) -> WindowView:
        """Return the window that a place of the endless order is in, with rows of the stream."""
        assert self._windows is not None, "asked of orders with windows only"
        epoch, place = divmod(place, self.num_rows)
        found, first = self._windows.view(place, epoch), self.first_row
        blocks, following = (
            tuple((start + first, stop + first) for start, stop in spans)
            for spans in (found.blocks, found.following)
        )
        return replace(found, blocks=blocks, following=following)

    def _epoch_rows(self, places: Indices, epoch: int) -> Indices:
        if self.num_rows == 1:
            return places
        seed, version = self._rule.seed, self._rule.version
        if not self._rule.window_blocks:
            return keyed_permutation(self.num_rows, seed, self._name, epoch, version=version)(
                places
            )
        if self._windows is not None:
            return self._windows.rows(places, epoch)
        return windowed_rows(
            places,
            num_rows=self.num_rows,
            block_rows=self._block_rows,
            window_blocks=self._rule.window_blocks,
            key=(seed, self._name, epoch),
        )


def rank_part(
    count: int, *, rank: int, world_size: int, micro: int = 0, micro_batches: int = 1
) -> slice:
    """Return which places of a global batch one rank takes in one micro-batch."""
    each = count // (world_size * micro_batches)
    assert each * world_size * micro_batches == count, "checked where sizes are resolved"
    start = (rank * micro_batches + micro) * each
    return slice(start, start + each)
