"""What a run tells of each step."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from latentcache.core.media import Bucket

_WINDOW_STEPS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleLoss:
    """What one sample cost, for a log by sample.

    Attributes:
        key: Of the sample in the store.
        time: t that was drawn for it; losses at different t do not compare.
        loss: Mean squared error of its velocity.
        is_dropped: It was trained without its condition.
    """

    key: str
    time: float
    loss: float
    is_dropped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """One optimizer step.

    Attributes:
        step: Steps done, this one included.
        num_steps: Of the run.
        loss: Mean over the global batch.
        gradient_norm: Before it was shortened.
        learning_rate: Of this step.
        bucket: All ranks' samples were of it.
        samples_per_s: All ranks together, over the last steps.
        loader_wait_share: Share of this rank's time that was spent waiting for batches.
        eta_s: Seconds to the end at this speed.
        samples: Each sample of the global batch, if they were asked for.
    """

    step: int
    num_steps: int
    loss: float
    gradient_norm: float
    learning_rate: float
    bucket: Bucket
    samples_per_s: float
    loader_wait_share: float
    eta_s: float
    samples: tuple[SampleLoss, ...] = ()

    def line(self) -> str:
        """Return the step as a line of a log."""
        return (
            f"step {self.step:,}/{self.num_steps:,}, loss {self.loss:.4f}, "
            f"{self.samples_per_s:,.4g} samples/s, loader wait {self.loader_wait_share:.1%}, "
            f"{_duration(self.eta_s)} left"
        )


class Meter:
    """Measures speed over the last steps."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, float, int]] = deque(maxlen=_WINDOW_STEPS + 1)
        self._waited_s, self._samples = 0.0, 0

    def start(self) -> None:
        """Forget what was before: time between runs is nobody's."""
        self._marks.clear()
        self._mark()

    def step(self, *, num_samples: int, waited_s: float) -> None:
        """Count one step."""
        self._samples += num_samples
        self._waited_s += waited_s
        self._mark()

    @property
    def elapsed_s(self) -> float:
        """Seconds of the steps that are looked at."""
        return max(1e-9, self._marks[-1][0] - self._marks[0][0])

    @property
    def samples_per_s(self) -> float:
        """Samples over time."""
        return (self._marks[-1][2] - self._marks[0][2]) / self.elapsed_s

    @property
    def wait_share(self) -> float:
        """Time spent waiting over time."""
        return (self._marks[-1][1] - self._marks[0][1]) / self.elapsed_s

    @property
    def step_s(self) -> float:
        """Seconds a step."""
        return self.elapsed_s / max(1, len(self._marks) - 1)

    def _mark(self) -> None:
        self._marks.append((self._clock(), self._waited_s, self._samples))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
