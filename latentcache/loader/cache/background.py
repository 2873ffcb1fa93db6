"""A few threads that do work before it is needed, and are dropped with the process.

They are daemons: a run that ends or is interrupted does not wait for what it will not read.
"""

import logging
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from threading import Condition, Thread

from latentcache.core.errors import LatentCacheError

logger = logging.getLogger(__name__)

Task = Callable[[], object]


class Ahead:
    """A queue of named tasks; a name that waits already is not taken twice."""

    def __init__(self, name: str, *, num_threads: int, max_pending: int) -> None:
        """Start nothing yet.

        Args:
            name: Of the threads.
            num_threads: Tasks done at once.
            max_pending: Tasks that may wait or be under way.
        """
        self._name, self._num_threads, self._max_pending = name, num_threads, max_pending
        self._queue: SimpleQueue[tuple[str, Task] | None] = SimpleQueue()
        self._pending: set[str] = set()
        self._changed = Condition()
        self._has_threads = False
        weakref.finalize(self, _stop, self._queue, num_threads)

    @property
    def num_pending(self) -> int:
        """Tasks that wait or are under way."""
        return len(self._pending)

    def submit(self, key: str, task: Task) -> bool:
        """Queue a task; return False if enough wait, or it does already.

        Its errors are logged: whoever needs the result does the work again and is told.
        """
        with self._changed:
            if key in self._pending or len(self._pending) >= self._max_pending:
                return False
            self._pending.add(key)
            if not self._has_threads:
                self._has_threads = True
                for number in range(self._num_threads):
                    arguments = (self._queue, self._pending, self._changed)
                    name = f"{self._name}_{number}"
                    Thread(target=_work, args=arguments, name=name, daemon=True).start()
        self._queue.put((key, task))
        return True

    def forget(self, key: str) -> None:
        """Leave a task undone if it still waits: somebody did its work meanwhile."""
        with self._changed:
            self._pending.discard(key)
            self._changed.notify_all()

    def wait(self) -> None:
        """Return when nothing is pending."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending)


def _work(
    queue: "SimpleQueue[tuple[str, Task] | None]", pending: set[str], changed: Condition
) -> None:
    while (item := queue.get()) is not None:
        key, task = item
        with changed:
            is_wanted = key in pending
        try:
            if is_wanted:
                task()
        except (OSError, LatentCacheError) as error:
            logger.debug("%s was not done ahead: %s", key, error)
        finally:
            del task, item  # or an idle thread keeps alive what it was last given
            with changed:
                pending.discard(key)
                changed.notify_all()


def _stop(queue: "SimpleQueue[tuple[str, Task] | None]", num_threads: int) -> None:
    for _ in range(num_threads):
        queue.put(None)
