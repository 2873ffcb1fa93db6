"""Making batches ahead of whoever takes them, in one thread.

What was made but not taken does not count: each item carries the place after it, and only
whoever takes it goes there. The thread knows what makes batches, but neither the loader nor
its iterators, so that dropping those ends it.
"""

import os
import weakref
from collections import deque
from collections.abc import Callable
from threading import Condition, Event, Thread, current_thread
from typing import Generic, TypeVar

import torch

from latentcache.loader.gather.copying import use_one_thread

_Item = TypeVar("_Item")
_Place = TypeVar("_Place")

THREAD_NAME = "latentcache-prefetch"


class Prefetcher(Generic[_Item, _Place]):
    """Items made in order, a few of them ahead."""

    def __init__(
        self,
        make: Callable[[_Place], tuple[_Item, _Place]],
        start: _Place,
        *,
        depth: int,
    ) -> None:
        """Start nothing yet.

        Args:
            make: Gives the item at a place, and the place after it.
            start: The first place.
            depth: Items that may wait to be taken, at least 1.
        """
        self._line = _Line(make, start, depth)
        # Also at the interpreter's exit, where a thread within torch would crash it.
        self._finalizer = weakref.finalize(self, _end, self._line)

    def take(self) -> tuple[_Item, _Place]:
        """Return the next item, and the place after it.

        Raises:
            BaseException: Whatever making it raised; it is tried again at the next call.
        """
        line = self._line
        with line.changed:
            line.keep_going()
            line.changed.wait_for(lambda: line.made)
            found = line.made.popleft()
            line.changed.notify_all()
        if isinstance(found, BaseException):
            raise found
        return found

    def pause(self) -> None:
        """Let the thread end once the item at hand is made; what is made is kept."""
        self._line.stop()

    def close(self) -> None:
        """End the thread, and wait for it."""
        self._finalizer()


class _Line(Generic[_Item, _Place]):
    """What the thread and the taker share; all of it under ``changed``."""

    def __init__(
        self, make: Callable[[_Place], tuple[_Item, _Place]], start: _Place, depth: int
    ) -> None:
        self.make, self.place, self.depth = make, start, depth
        self.made: deque[tuple[_Item, _Place] | BaseException] = deque()
        self.changed = Condition()
        self.thread: Thread | None = None
        self.is_stopping = False
        self.process = os.getpid()

    def keep_going(self) -> None:
        """Start the thread, or have one that was to end go on."""
        self.is_stopping = False
        if self.thread is None:
            before, has_begun = torch.get_num_threads(), Event()
            arguments = (self, has_begun)
            self.thread = Thread(target=_work, args=arguments, name=THREAD_NAME, daemon=True)
            self.thread.start()
            has_begun.wait()
            torch.set_num_threads(before)

    def stop(self) -> None:
        """Have the thread end."""
        with self.changed:
            self.is_stopping = True
            self.changed.notify_all()


def _work(line: _Line[_Item, _Place], has_begun: Event) -> None:
    # Two crowds of torch's threads, this one's and the training's, would wait for each other,
    # spinning.
    use_one_thread()
    has_begun.set()
    while True:
        with line.changed:
            line.changed.wait_for(lambda: line.is_stopping or len(line.made) < line.depth)
            if line.is_stopping:
                line.thread = None
                return
        try:
            found = line.make(line.place)
        except BaseException as error:  # noqa: BLE001  raised where the item is taken
            with line.changed:
                line.made.append(error)
                line.thread = None
                line.changed.notify_all()
            return
        with line.changed:
            line.made.append(found)
            line.place = found[1]
            line.changed.notify_all()
        del found  # or an idle thread keeps a batch alive


def _end(line: _Line[_Item, _Place]) -> None:
    if os.getpid() != line.process:  # a fork has no such thread, but may have its lock
        return
    line.stop()
    thread = line.thread
    if thread is not None and thread is not current_thread():
        thread.join()
