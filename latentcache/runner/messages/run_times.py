"""Where the time of a run went, over all its encoders, and what set its pace."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from latentcache.runner.messages.actor_setup import ActorProgress
from latentcache.runner.messages.stage_times import (
    COMMIT,
    COMMIT_BOUNDS_S,
    DECODE,
    ENCODE,
    STAGES,
    WAIT,
    WRITE,
)

_TOLD_FROM_S = 30.0
_GOOD_SHARE = 0.8
_ADVICE = {
    DECODE: "pixels came too late: more CPU cores per encoder, a corpus that lies nearer, or "
    "smaller sources make it faster",
    WRITE: "writing tars and statistics held the encoders up: a faster resources.scratch helps",
    COMMIT: "commits held the encoders up: storage that answers faster, or "
    "resources.units_in_flight=4, helps",
    WAIT: "encoders had no unit to do: fewer of them would have been as fast, or a smaller "
    "--rows-per-shard in the next plan",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimes:
    """Where the time of a run's encoders went.

    Attributes:
        seconds: By stage, summed over encoders: ``encode`` at work; not at work because pixels
            (or texts) were not there (``decode``), rows were being written (``write``), units
            committed (``commit``), or no unit was there (``wait``).
        shares: The same of their sum, 0 to 1; empty where nothing was encoded.
        decode_core_s: Seconds that decode processes worked, beside the encoders.
        num_commits: Units committed by this run.
        commit_s: Mean time of one.
        slowest_commit_s: The longest.
        commits_within_s: How many took at most so many seconds, by that limit; all under ``inf``.
        stored_bytes: Of their tars.
        storage_retries: Storage operations of actors and decode tasks that were tried again.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    decode_core_s: float = 0.0
    num_commits: int = 0
    commit_s: float = 0.0
    slowest_commit_s: float = 0.0
    commits_within_s: dict[str, int] = field(default_factory=dict)
    stored_bytes: int = 0
    storage_retries: int = 0

    @classmethod
    def of(cls, answers: Sequence[ActorProgress]) -> "RunTimes":
        """Return the sum over actors, those that died included by their last answer."""
        times = [each.times for each in answers]
        seconds = {stage: sum(each.seconds[stage] for each in times) for stage in STAGES}
        whole_s = sum(seconds.values())
        counts = [sum(each.commits[place] for each in times) for place in _CLASSES]
        num_commits = sum(counts)
        within = {_limit(place): sum(counts[: place + 1]) for place in _CLASSES}
        return cls(
            seconds=seconds,
            shares={stage: value / whole_s for stage, value in seconds.items()} if whole_s else {},
            decode_core_s=sum(each.decode_busy_s for each in answers),
            num_commits=num_commits,
            commit_s=sum(each.commit_s for each in times) / num_commits if num_commits else 0.0,
            slowest_commit_s=max((each.slowest_commit_s for each in times), default=0.0),
            commits_within_s=within,
            stored_bytes=sum(each.stored_bytes for each in times),
            storage_retries=sum(each.storage_retries for each in times),
        )

    @property
    def advice(self) -> str:
        """What held the encoders up, and the way out; "" for short runs and busy encoders."""
        if sum(self.seconds.values()) < _TOLD_FROM_S or self.shares[ENCODE] >= _GOOD_SHARE:
            return ""
        return _ADVICE[max(_ADVICE, key=lambda stage: self.shares[stage])]


_CLASSES = range(len(COMMIT_BOUNDS_S) + 1)


def _limit(place: int) -> str:
    return f"{COMMIT_BOUNDS_S[place]:g}" if place < len(COMMIT_BOUNDS_S) else "inf"
