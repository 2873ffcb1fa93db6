"""Which rows the next batches of a stream are made of, worked out many batches at once.

What a row needs (its place in the order, whether it is there, where it lies) is a dozen
array operations, each of which costs as much for 256 rows as for some thousand: batch by
batch they came to a fifth of the copying itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from latentcache.loader.gather.unit_gather import Places
from latentcache.loader.order.batch_sizes import Ranks
from latentcache.loader.order.epoch_order import Drawn, StreamOrder, rank_part
from latentcache.loader.order.mixture import StepDraw
from latentcache.loader.streams.stream import Picked, Stream

_ROWS_AHEAD = 16_384
_MAX_STEPS_AHEAD = 64


@dataclass(frozen=True, slots=True)
class Located:
    """Rows of one batch, and where their samples lie.

    Attributes:
        picked: The rows.
        places: By tensor column.
    """

    picked: Picked
    places: Mapping[str, Places]


class PicksAhead:
    """Picks one rank's rows of one stream; remembers what it worked out ahead."""

    def __init__(self, stream: Stream, order: StreamOrder, ranks: Ranks) -> None:
        """Remember where to pick from.

        Args:
            stream: Whose rows.
            order: In which they come; read by nobody else, as it remembers where it was.
            ranks: The rank's part of each global batch is picked.
        """
        self._stream, self._order, self._ranks = stream, order, ranks
        self._first = self._count = self._num_steps = 0
        # To locate rows of a remote column is to have their tars fetched: batch by batch.
        self._remote = [name for name, one in stream.columns.items() if one.cache is not None]

    def pick(self, draw: StepDraw, micro: int) -> Located:
        """Return the rows of one micro-batch of the rank."""
        step, rest = divmod(draw.position - self._first, draw.count)
        if rest or draw.count != self._count or not 0 <= step < self._num_steps:
            follows = draw.count == self._count and not rest and step == self._num_steps
            self._look_ahead(draw, is_read_on=follows)
            step = 0
        each = draw.count // self._ranks.num_parts
        start = (step * self._ranks.micro_batches + micro) * each
        inside = slice(start, start + each)
        picked = self._picked.part(inside)
        places = {name: one.part(start, start + each) for name, one in self._places.items()}
        for name in self._remote:
            places[name] = self._stream.places(name, picked)
        return Located(picked, places)

    def _look_ahead(self, draw: StepDraw, *, is_read_on: bool) -> None:
        part = rank_part(draw.count, rank=self._ranks.rank, world_size=self._ranks.world_size)
        length = part.stop - part.start
        ahead = min(_MAX_STEPS_AHEAD, max(1, _ROWS_AHEAD // length))
        # Only who reads on profits: the first batch is not to wait for many.
        num_steps = ahead if is_read_on else 1
        drawn = self._draw(draw, part, num_steps)
        picked = self._stream.pick(drawn, self._order)
        self._places = {
            name: self._stream.places(name, picked)
            for name in self._stream.columns
            if name not in self._remote
        }
        self._picked = picked
        self._first, self._count, self._num_steps = draw.position, draw.count, num_steps

    def _draw(self, draw: StepDraw, part: slice, num_steps: int) -> Drawn:
        """Return the rank's rows of some global batches, one after the other."""
        if part.stop - part.start == draw.count and self._order.num_lanes == 1:
            count = num_steps * draw.count  # then batches follow each other
            return self._order.draw(draw.position, count, slice(0, count))
        pieces = [
            self._order.draw(draw.position + step * draw.count, draw.count, part)
            for step in range(num_steps)
        ]
        return Drawn(
            np.concatenate([piece.rows for piece in pieces]),
            np.concatenate([piece.draws for piece in pieces]),
        )
