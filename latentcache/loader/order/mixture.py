"""What each step draws: streams, how often each serves, how many samples it gives then.

The whole state is a ``Cursor``: the step, and how many samples each stream has given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from latentcache.core.errors import ConfigError
from latentcache.loader.order.epoch_order import Drawn, StreamOrder
from latentcache.loader.order.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a run stands; equal on all ranks.

    Attributes:
        step: Optimizer steps done.
        positions: Samples that each stream has given, by its name; absent means none.
    """

    step: int = 0
    positions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One stream of a mixture.

    Attributes:
        order: Of its rows.
        weight: Share of *samples*, relative to the other streams.
        batch_size: Samples of a global batch from this stream.
        name: Of the stream; that of the order, unless streams share one: what one of them gives
            is given for all, so that together they go through the order once an epoch.
    """

    order: StreamOrder
    weight: Fraction
    batch_size: int
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.order.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDraw:
    """One global batch: samples ``position`` to ``position + count`` of a member."""

    member: int
    position: int
    count: int


class Mixture:
    """A sequence of global batches, each a function of the cursor alone."""

    def __init__(self, members: Sequence[Member], *, seed: int) -> None:
        """Lay out the schedule.

        Raises:
            ConfigError: Two streams share a name, a weight is wrong, or a batch does not
                divide by the partitions.
        """
        self.members = tuple(members)
        names = [member.name for member in self.members]
        self._sharing: dict[str, list[str]] = {}
        for member in self.members:
            self._sharing.setdefault(member.order.name, []).append(member.name)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"sources must differ in name, got {twice!r} twice; name each source")
        for member in self.members:
            if member.batch_size % member.order.num_lanes:
                raise ConfigError(
                    f"global batch {member.batch_size} does not divide by "
                    f"{member.order.num_lanes} partitions ({member.order.name}); "
                    f"use a multiple of it"
                )
        # Weights speak of samples; a stream with larger batches comes less often.
        shares = [member.weight / member.batch_size for member in self.members]
        self.shares = shares
        self._schedule = Schedule(shares, seed=seed)

    def draw_at(self, cursor: Cursor) -> StepDraw:
        """Return the global batch of the cursor's step."""
        number = self._schedule.stream_at(cursor.step)
        member = self.members[number]
        sharing = self._sharing[member.order.name]
        position = sum(cursor.positions.get(name, 0) for name in sharing)
        return StepDraw(member=number, position=position, count=member.batch_size)

    def after(self, cursor: Cursor, draw: StepDraw) -> Cursor:
        """Return the cursor once its step is done, whose batch is ``draw``."""
        name = self.members[draw.member].name
        positions = {**cursor.positions, name: cursor.positions.get(name, 0) + draw.count}
        return Cursor(step=cursor.step + 1, positions=positions)

    def cursor_at(self, step: int) -> Cursor:
        """Return the cursor of a run that began with these sizes and did ``step`` steps."""
        served = (self._schedule.num_served(number, step) for number in range(len(self.members)))
        return Cursor(
            step=step,
            positions={
                member.name: count * member.batch_size
                for member, count in zip(self.members, served, strict=True)
                if count
            },
        )

    def rows(self, draw: StepDraw, part: slice) -> Drawn:
        """Return a part of a global batch as rows of its stream."""
        return self.members[draw.member].order.draw(draw.position, draw.count, part)
