"""One pass: every selected row that is there, once, over all ranks, in the same order each time.

What a validation needs: no stand-ins, no epochs, the same rows and noise in every pass. Streams
follow each other; each goes through its first epoch's order. Steps are full but for a stream's
last, or its last two where the last one's rows would not do for every rank: all ranks have equally
many batches, none is empty. A rank for which there is no row at all gets a neighbour's, which
``mask`` says is not to be counted.
"""

from bisect import bisect_right
from functools import partial
from itertools import accumulate

import torch

from latentcache.loader.batch_maker import Position, state_at
from latentcache.loader.latent_batch import Batch, BatchFacts
from latentcache.loader.order.batch_sizes import Ranks
from latentcache.loader.order.mixture import Cursor, StepDraw
from latentcache.loader.run_config import RunConfig
from latentcache.loader.streams.sample_picks import Located


def num_steps(num_rows: int, batch_size: int) -> int:
    """Return how many global batches go through some rows."""
    return -(-num_rows // batch_size)


def rows_of_step(step: int, num_rows: int, batch_size: int, world_size: int) -> tuple[int, int]:
    """Return the first row of a global batch of a stream, and how many it has.

    Args:
        step: In the stream.
        num_rows: Of the stream.
        batch_size: Of a full global batch, a multiple of ``world_size``.
        world_size: Ranks that share it.
    """
    last = num_steps(num_rows, batch_size) - 1
    rest = num_rows - last * batch_size
    is_shared = rest < world_size < batch_size and last > 0
    if is_shared and step >= last - 1:
        first = (last - 1) * batch_size
        half = (batch_size + rest + 1) // 2
        return (first, half) if step < last else (first + half, batch_size + rest - half)
    return step * batch_size, min(batch_size, num_rows - step * batch_size)


class PassMaker:
    """Makes the batches of a pass; used by one thread at a time.

    Attributes:
        num_batches: Of a pass, on every rank.
    """

    def __init__(self, run: RunConfig, ranks: Ranks) -> None:
        """Count the steps of each stream."""
        self._run, self._ranks = run, ranks
        members = run.mixture.members
        self._ends = list(
            accumulate(num_steps(one.order.num_rows, one.batch_size) for one in members)
        )
        self.num_batches = self._ends[-1]

    def make(self, position: Position) -> tuple[Batch, Position]:
        """Return the batch at a place, and the place after it: after the last, the first."""
        run, ranks, step = self._run, self._ranks, position.cursor.step
        number = bisect_right(self._ends, step)
        stream, member = run.streams[number], run.mixture.members[number]
        first, count = rows_of_step(
            step - (self._ends[number - 1] if number else 0),
            member.order.num_rows,
            member.batch_size,
            ranks.world_size,
        )
        start = count * ranks.rank // ranks.world_size
        stop = count * (ranks.rank + 1) // ranks.world_size
        is_counted = stop > start
        if not is_counted:
            start = min(start, count - 1)
            stop = start + 1
        part = slice(0, stop - start)
        draw = StepDraw(member=number, position=first + start, count=stop - start)
        run.fetch_ahead(draw, part)
        picked = stream.pick(member.order.draw(draw.position, draw.count, part), member.order)
        places = {name: stream.places(name, picked) for name in stream.columns}
        facts = BatchFacts(
            step=step, micro=0, bucket=stream.bucket, stream=stream.place.name, num_substituted=0
        )
        after = Position(Cursor(step=(step + 1) % self.num_batches))
        batch = run.reader.read(
            stream,
            Located(picked, places),
            facts=facts,
            state=partial(state_at, after, run.static),
            mask=torch.full((stop - start,), is_counted),
        )
        return batch, after
