"""Threads that go from stage to stage when they are told to, for tests of their clock."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from latentcache.runner.messages.stage_times import StageClock


class InThreads:
    """Some threads, each in one stage or in none."""

    def __init__(self, number: int, clock: StageClock) -> None:
        self._clock = clock
        self._pools = [ThreadPoolExecutor(1) for _ in range(number)]
        self._held: list[AbstractContextManager[None] | None] = [None] * number

    def move(self, thread: int, stage: str) -> None:
        """Have a thread leave its stage, and go into ``stage`` unless that is ``leave``."""
        self._pools[thread].submit(self._move, thread, stage).result()

    def _move(self, thread: int, stage: str) -> None:
        held, self._held[thread] = self._held[thread], None
        if held is not None:
            held.__exit__(None, None, None)
        if stage != "leave":
            entered = self._clock.during(stage)
            entered.__enter__()
            self._held[thread] = entered

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for thread in range(len(self._pools)):
            self.move(thread, "leave")
        for pool in self._pools:
            pool.shutdown()
