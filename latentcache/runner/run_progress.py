"""What a run says of itself while it works: plain numbers, drawn by whoever listens."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from latentcache.runner.messages.actor_setup import ActorProgress
from latentcache.runner.messages.run_times import RunTimes
from latentcache.runner.messages.stage_times import ENCODE


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """One look at a run.

    Attributes:
        stage: ``scan`` or ``encode``.
        done: Samples scanned, or encoded and quarantined, by this run.
        total: Samples this run has to do; None while a scan does not know.
        quarantined: Of ``done``.
        source_bytes: Read so far.
        elapsed_s: Since the stage began to work.
        decode_queue: Decode tasks under way or waiting to be encoded.
        num_actors: Alive.
        under_way: Encoded and not safe yet: a kill would cost it. Of long clips, shares.
        worked: Samples that this run has encoded, safe or not; None if that is ``done``.
        column: What is encoded; "" for other stages.
        num_deaths: Encode actors that died and were replaced.
        times: Where the encoders' time went.
    """

    stage: str
    done: int
    total: int | None
    quarantined: int = 0
    source_bytes: int = 0
    elapsed_s: float = 0.0
    decode_queue: int = 0
    num_actors: int = 0
    under_way: float = 0.0
    worked: float | None = None
    column: str = ""
    num_deaths: int = 0
    times: RunTimes = field(default_factory=RunTimes)

    @property
    def encoder_busy_share(self) -> float:
        """Of the time of all encoders, 0 to 1."""
        return self.times.shares.get(ENCODE, 0.0)

    @property
    def samples_per_s(self) -> float:
        """Mean rate of the stage; of a clip of minutes its share counts."""
        worked = self.done + self.under_way if self.worked is None else self.worked
        return worked / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds to go at the mean rate, or None if unknown."""
        if self.total is None or self.samples_per_s == 0:
            return None
        return (self.total - self.done - self.under_way) / self.samples_per_s


class Reporter(Protocol):
    """Whoever shows a run: the terminal, a log, a test."""

    def message(self, text: str) -> None:
        """Show one line that stays."""
        ...

    def update(self, progress: RunProgress) -> None:
        """Show the newest numbers."""
        ...


class SilentReporter:
    """Shows nothing."""

    def message(self, text: str) -> None:
        """Drop ``text``."""

    def update(self, progress: RunProgress) -> None:
        """Drop ``progress``."""


def encode_progress(
    actors: Iterable[ActorProgress],
    *,
    total: int,
    elapsed_s: float,
    num_safe: int,
    num_quarantined: int,
    **facts: Any,
) -> RunProgress:
    """Return the sum over actors, those that died included by their last answer.

    Args:
        actors: Their newest answers.
        total: Rows of this run.
        elapsed_s: Since it began.
        num_safe: Committed by this run, or kept as pieces of units.
        num_quarantined: Of the committed ones.
        facts: ``column`` and ``num_deaths``.
    """
    answers = list(actors)
    return RunProgress(
        stage="encode",
        done=min(total, num_safe + sum(each.rows_kept for each in answers)),
        total=total,
        quarantined=num_quarantined,
        source_bytes=sum(each.source_bytes for each in answers),
        elapsed_s=elapsed_s,
        decode_queue=sum(each.tasks_pending for each in answers),
        num_actors=len(answers),
        under_way=sum(each.under_way for each in answers),
        worked=sum(each.rows_worked for each in answers) + _shares(answers),
        times=RunTimes.of(answers),
        **facts,
    )


def _shares(answers: Iterable[ActorProgress]) -> float:
    """Return what long clips under way have come to: of other rows only whole ones count."""
    return sum(each.under_way % 1.0 for each in answers)
