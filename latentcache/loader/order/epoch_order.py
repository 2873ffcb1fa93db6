"""The order of samples: endless streams of rows, cut into global batches by arithmetic alone.

A *stream* is one bucket of one generation of one source. Its rows, ``range(num_rows)``,
are dealt into ``partitions`` lanes of consecutive rows; a lane is gone through in a keyed
order, once per epoch, for ever. A global batch takes equally many rows from each lane, lane
after lane, and rank ``r`` of ``W`` takes the ``r``-th of ``W`` equal slices. So what is in
a batch depends neither on ranks nor on threads, and with ``W`` dividing ``partitions`` a
rank reads its own lanes only.

An epoch of a lane is a permutation of all its rows, or with ``window_blocks`` set (for data
that is read in whole shards): blocks of ``block_rows`` in permuted order, and the rows of
``window_blocks`` neighbours permuted among each other.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from latentcache.core.errors import ConfigError
from latentcache.loader.order.feistel import Indices, keyed_permutation
from latentcache.loader.order.whole_numbers import whole

ORDER_VERSION = 1
"""Raised whenever the same settings would give another order; part of the state."""

_AHEAD = 16_384
"""Rows computed at once while a lane is read on: 20 us a batch become 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRule:
    """What, beside its rows, decides the order of a stream; pinned in the state.

    Attributes:
        seed: Of everything that looks random.
        partitions: Lanes per stream; must divide every global batch.
        window_blocks: Blocks whose rows are shuffled together; 0 shuffles a lane whole.
    """

    seed: int = 0
    partitions: int = 1
    window_blocks: int = 0

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

    def __init__(self, name: str, num_rows: int, rule: OrderRule, *, block_rows: int = 1) -> None:
        """Deal the rows into lanes.

        Args:
            name: What keys the order; stays the same while the store grows.
            num_rows: Rows to choose from.
            rule: Of the run.
            block_rows: Rows that are read together, those of a shard; used with a window.

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
        self.block_rows = block_rows
        self.num_lanes = rule.partitions
        bounds = [num_rows * lane // rule.partitions for lane in range(rule.partitions + 1)]
        self._lanes = [
            _Lane(f"{name}/{lane}", (start, stop), rule, block_rows)
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


class _Lane:
    """Consecutive rows of a stream, gone through again and again."""

    def __init__(
        self, name: str, bounds: tuple[int, int], rule: OrderRule, block_rows: int
    ) -> None:
        self._name = name
        self._first_row = bounds[0]
        self._num_rows = bounds[1] - bounds[0]
        self._seed = rule.seed
        self._window_blocks = rule.window_blocks
        self._block_rows = block_rows
        self._ahead = (0, Drawn(np.zeros(0, np.int64), np.zeros(0, np.int64)))
        self._next = -1

    def draw(self, start: int, stop: int) -> Drawn:
        """Return places ``start`` to ``stop`` of the endless order."""
        begin, known = self._ahead
        if not (begin <= start and stop <= begin + len(known.rows)):
            # Only who reads on profits from what lies ahead: a rank among many skips. And an
            # epoch costs what 16,000 rows do, so small lanes are not computed epochs ahead.
            ahead = min(_AHEAD, self._num_rows) if start == self._next else 0
            length = max(stop - start, ahead)
            begin, known = start, self._compute(start, start + length)
            self._ahead = (begin, known)
        self._next = stop
        inside = slice(start - begin, stop - begin)
        return Drawn(known.rows[inside], known.draws[inside])

    def _compute(self, start: int, stop: int) -> Drawn:
        rows, draws = np.empty((2, stop - start), np.int64)
        for epoch in range(start // self._num_rows, (stop - 1) // self._num_rows + 1):
            begin = epoch * self._num_rows
            first, last = max(start, begin), min(stop, begin + self._num_rows)
            inside = slice(first - start, last - start)
            rows[inside] = self._epoch_rows(np.arange(first - begin, last - begin), epoch)
            draws[inside] = epoch
        rows += self._first_row
        return Drawn(rows, draws)

    def _epoch_rows(self, places: Indices, epoch: int) -> Indices:
        if self._num_rows == 1:
            return places
        if not self._window_blocks:
            permutation = keyed_permutation(self._num_rows, self._seed, self._name, epoch)
            return permutation(places)
        return windowed_rows(
            places,
            num_rows=self._num_rows,
            block_rows=self._block_rows,
            window_blocks=self._window_blocks,
            key=(self._seed, self._name, epoch),
        )


def windowed_rows(
    places: Indices,
    *,
    num_rows: int,
    block_rows: int,
    window_blocks: int,
    key: tuple[int, str, int],
) -> Indices:
    """Return the rows at some places of an epoch that shuffles blocks, then rows in windows.

    Args:
        places: In ``range(num_rows)``.
        num_rows: Of the lane.
        block_rows: Rows of every block but the last.
        window_blocks: Blocks of every window but the last.
        key: (seed, lane, epoch).
    """
    num_blocks = -(-num_rows // block_rows)
    blocks = keyed_permutation(num_blocks, *key, "blocks")
    # Only the last block is short, by ``deficit``, and it may come anywhere: places after
    # it are shifted as if it were full, and rows are found by division again.
    deficit = num_blocks * block_rows - num_rows
    short_at = int(blocks.inverse(np.array([num_blocks - 1]))[0])
    span = window_blocks * block_rows
    short_window = short_at // window_blocks
    shifted = places + np.where(places >= (short_window + 1) * span - deficit, deficit, 0)
    windows = shifted // span
    rows = np.empty_like(places)
    for window in np.unique(windows).tolist():
        now = windows == window
        start = window * span - (deficit if window > short_window else 0)
        size = min(span, num_blocks * block_rows - window * span)
        size -= deficit if window == short_window else 0
        inner = keyed_permutation(size, *key, "rows", window)(places[now] - start)
        if window == short_window:
            boundary = (short_at - window * window_blocks + 1) * block_rows - deficit
            inner += np.where(inner >= boundary, deficit, 0)
        block, row = np.divmod(inner, block_rows)
        rows[now] = blocks(window * window_blocks + block) * block_rows + row
    return rows


def rank_part(
    count: int, *, rank: int, world_size: int, micro: int = 0, micro_batches: int = 1
) -> slice:
    """Return which places of a global batch one rank takes in one micro-batch."""
    each = count // (world_size * micro_batches)
    assert each * world_size * micro_batches == count, "checked where sizes are resolved"
    start = (rank * micro_batches + micro) * each
    return slice(start, start + each)
