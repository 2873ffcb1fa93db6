"""Writers that take turns: each is a thread, and moves only when it is told to.

So every interleaving of their storage operations can be drawn, and drawn again.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from functools import cached_property
from typing import Any

from tests.store.stopping import StoppedError

_PATIENCE_S = 300.0
"""A turn takes milliseconds; longer is a deadlock, and shown as one."""


class Writer:
    """Work that stops before each of its storage operations until it gets a turn.

    Attributes:
        name: For people.
        result: What the work returned.
        error: What it raised, if it did.
    """

    def __init__(self, name: str, work: Callable[["Writer"], Any]) -> None:
        self.name = name
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_done = False
        self.is_killed = False
        self._work = work
        self._go, self._rests = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)
        self._thread.start()

    def turn(self) -> None:
        """Wait for a turn; called by the storage before each operation.

        Raises:
            StoppedError: The writer was killed.
        """
        if threading.current_thread() is self._thread and not self.is_killed:
            self._rests.release()
            assert self._go.acquire(timeout=_PATIENCE_S), f"{self.name} was left alone"
        if self.is_killed:
            raise StoppedError

    def move(self) -> None:
        """Do the next storage operation and go on to the one after it, or to the end."""
        if self.is_done:
            return
        self._go.release()
        assert self._rests.acquire(timeout=_PATIENCE_S), f"{self.name} does not come back"

    def kill(self) -> None:
        """End it as SIGKILL would: nothing more of it reaches the storage."""
        self.is_killed = True
        self.move()

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self.is_killed:
                self.result = self._work(self)
        except BaseException as error:  # noqa: BLE001  shown by whoever drives the writers
            self.error = error
        self.is_done = True
        self._rests.release()


class InOrder(Executor):
    """Does everything at once and in order, in place of a pool of threads."""

    def __init__(self, max_workers: int = 1) -> None:
        del max_workers

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  as a pool does
            future.set_exception(error)
        return future

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> Any:
        return iter([fn(*each) for each in zip(*iterables, strict=False)])


def unlocked_properties(package: str) -> Iterator[tuple[Any, str, Any]]:
    """Yield what to set so that no writer waits for a property that a resting one computes.

    Until Python 3.12 one lock of a ``cached_property`` served all instances.
    """
    for name, module in list(sys.modules.items()):
        if not name.startswith(package):
            continue
        for kind in [each for each in vars(module).values() if isinstance(each, type)]:
            for held in [each for each in vars(kind).values() if isinstance(each, cached_property)]:
                if hasattr(held, "lock"):
                    yield held, "lock", nullcontext()
