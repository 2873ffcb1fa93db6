"""Making the batch at any place of a run, and the state after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

from latentcache.loader.latent_batch import Batch, BatchFacts
from latentcache.loader.order.batch_sizes import Ranks
from latentcache.loader.order.epoch_order import rank_part
from latentcache.loader.order.mixture import Cursor
from latentcache.loader.run_config import RunConfig
from latentcache.loader.streams.sample_picks import PicksAhead


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands: the next batch to be made.

    Attributes:
        cursor: Of the step.
        micro: Micro-batches of the step that are done.
    """

    cursor: Cursor = field(default_factory=Cursor)
    micro: int = 0


class BatchMaker:
    """Makes batches one after the other; used by one thread at a time."""

    def __init__(self, run: RunConfig, ranks: Ranks) -> None:
        self._run, self._ranks = run, ranks
        self._picks: dict[int, PicksAhead] = {}

    @property
    def num_batches(self) -> int:
        """Batches of a rank in which the average sample is seen once."""
        members, shares = self._run.mixture.members, self._run.mixture.shares
        drawn = sum(
            member.batch_size * share for member, share in zip(members, shares, strict=True)
        )
        num_samples = sum(
            Fraction(one.source.repeats) * stream.selection.num_rows * stream.share
            for one in self._run.opened
            for stream in one.streams
        )
        num_steps = round(float(num_samples) / float(drawn / sum(shares)))
        return max(1, num_steps) * self._ranks.micro_batches

    def make(self, position: Position) -> tuple[Batch, Position]:
        """Return the batch at a place, and the place after it."""
        mixture, ranks = self._run.mixture, self._ranks
        cursor, micro = position.cursor, position.micro
        draw = mixture.draw_at(cursor)
        if self._run.is_windowed:
            part = rank_part(
                draw.count,
                rank=ranks.rank,
                world_size=ranks.world_size,
                micro=micro,
                micro_batches=ranks.micro_batches,
            )
            self._run.fetch_ahead(draw, part)
        stream = self._run.streams[draw.member]
        located = self._picks_of(draw.member).pick(draw, micro)
        if micro + 1 < ranks.micro_batches:
            after = Position(cursor, micro + 1)
        else:
            after = Position(mixture.after(cursor, draw), 0)
        facts = BatchFacts(
            step=cursor.step,
            micro=micro,
            bucket=stream.bucket,
            stream=stream.place.name,
            num_substituted=located.picked.num_substituted,
        )
        state = partial(state_at, after, self._run.static)
        return self._run.reader.read(stream, located, facts=facts, state=state), after

    def _picks_of(self, member: int) -> PicksAhead:
        found = self._picks.get(member)
        if found is None:
            stream, order = self._run.streams[member], self._run.mixture.members[member].order
            found = PicksAhead(stream, order, self._ranks)
            self._picks[member] = found
        return found


def state_at(position: Position, static: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's state at a place, as plain values.

    Args:
        position: The place.
        static: What does not move.
    """
    cursor = position.cursor
    # All streams, also those not begun: tools that load into a template take its names only.
    positions = {name: cursor.positions.get(name, 0) for name in static["streams"]}
    moving = {"step": cursor.step, "micro": position.micro, "positions": positions}
    return {**static, **moving}
