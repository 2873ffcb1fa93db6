"""Where an encoder's time goes, moment by moment, and how long commits take; plain values.

At each moment an actor is in exactly one stage, so the seconds of all stages add up to the time
since it was told what to encode: there is nothing to estimate. While its encoder works that is
``encode``. While it does not, the stage names what its units are doing instead: a unit under
way is in ``decode`` (its pixels or texts are read, awaited, put together) unless it writes rows or
commits.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

ENCODE, DECODE, WRITE, COMMIT, WAIT = "encode", "decode", "write", "commit", "wait"
STAGES = (ENCODE, DECODE, WRITE, COMMIT, WAIT)
"""In this order the first that somebody is in counts: a unit that waits for pixels would feed
the encoder whether another commits or not. ``wait`` is what is left: no unit was there."""

_QUEUED = "queued"
"""Of a unit that waits for the encoder; no stage of its own."""

COMMIT_BOUNDS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Upper ends of the classes that commits are counted in; one more class is above them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorTimes:
    """What one actor has measured since it was told what to encode.

    Attributes:
        seconds: By stage, all of ``STAGES``.
        commits: How many took how long: one count for each of ``COMMIT_BOUNDS_S`` and one above.
        commit_s: All of them together, from the end of the tar until the commit is there.
        slowest_commit_s: One of them.
        stored_bytes: Of tars that were committed.
        storage_retries: Storage operations that were tried again, also of its decode tasks.
    """

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    commits: tuple[int, ...] = (0,) * (len(COMMIT_BOUNDS_S) + 1)
    commit_s: float = 0.0
    slowest_commit_s: float = 0.0
    stored_bytes: int = 0
    storage_retries: int = 0


class StageClock:
    """Which stage an actor is in, kept by its threads as they go from one to another."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._own = threading.local()
        self._num_threads: Counter[str] = Counter()
        self.restart()

    def restart(self) -> None:
        """Forget what was measured so far."""
        with self._lock:
            self._since_s = self._clock()
            self._seconds = dict.fromkeys(STAGES, 0.0)
            self._commits = [0] * (len(COMMIT_BOUNDS_S) + 1)
            self._commit_s = self._slowest_s = 0.0
            self._stored_bytes = self._retries = 0

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Hold this thread in ``stage``, and then in the one that it was in before."""
        former = getattr(self._own, "stage", "")
        self._move(former, stage)
        try:
            yield
        finally:
            self._move(stage, former)

    def waiting_for_encoder(self) -> AbstractContextManager[None]:
        """Hold this thread where it does nothing but wait for the encode thread."""
        return self.during(_QUEUED)

    def committed(self, seconds: float, num_bytes: int) -> None:
        """Count a commit."""
        with self._lock:
            self._commits[bisect_left(COMMIT_BOUNDS_S, seconds)] += 1
            self._commit_s += seconds
            self._slowest_s = max(self._slowest_s, seconds)
            self._stored_bytes += num_bytes

    def retried(self, times: int) -> None:
        """Count storage operations that were tried again in another process."""
        with self._lock:
            self._retries += times

    def times(self, storage_retries: int = 0) -> ActorTimes:
        """Return what was measured so far.

        Args:
            storage_retries: Of this process, beside those that were counted.
        """
        with self._lock:
            self._settle()
            return ActorTimes(
                seconds=dict(self._seconds),
                commits=tuple(self._commits),
                commit_s=self._commit_s,
                slowest_commit_s=self._slowest_s,
                stored_bytes=self._stored_bytes,
                storage_retries=self._retries + storage_retries,
            )

    def _move(self, former: str, stage: str) -> None:
        with self._lock:
            self._settle()
            self._num_threads[former] -= 1
            self._num_threads[stage] += 1
        self._own.stage = stage

    def _settle(self) -> None:
        now_s = self._clock()
        stage = next((each for each in STAGES if self._num_threads[each] > 0), WAIT)
        self._seconds[stage] += now_s - self._since_s
        self._since_s = now_s
