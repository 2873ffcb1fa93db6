"""Work on the items of an import in forked processes, one for each processor, results in order.

Unpickling and counting hold Python's lock, so that threads would take turns. What the work needs is
there in the fork and need not be sent; only results are.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

from latentcache.core.errors import StoreError

LEAST_ITEMS = 512
"""Fewer samples are done sooner than processes are started."""

ResultT = TypeVar("ResultT")

_work: Callable[[int], Any] | None = None
"""Set before processes are forked, which then have it too."""


def num_processes() -> int:
    """Return how many there are to be: 1 where processes cannot be forked safely."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def side_by_side(
    work: Callable[[int], ResultT], num_items: int, *, is_worth_it: bool, chunk: int = 1
) -> Iterator[ResultT]:
    """Yield ``work(0)``, ``work(1)`` ... in this order.

    Args:
        work: Of one item, by number; what it returns or raises can be pickled.
        num_items: How many.
        is_worth_it: Whether there is enough to do for processes to be started.
        chunk: Items that a process takes at a time.

    Raises:
        StoreError: A process was killed.
    """
    global _work  # noqa: PLW0603  what a fork inherits has to lie somewhere
    count = min(num_processes(), -(-num_items // chunk))
    if not is_worth_it or count < 2:
        yield from map(work, range(num_items))
        return
    _work = work
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_begin, initargs=(os.getpid(),)
    ) as pool:
        try:
            yield from pool.map(_run, range(num_items), chunksize=chunk)
        except BrokenProcessPool:
            raise StoreError(
                "processes of an import must live, got one that was killed, as the system does "
                "when memory is short; run the same command again, which goes on"
            ) from None
        finally:
            _work = None
            pool.shutdown(wait=True, cancel_futures=True)


def _run(number: int) -> Any:
    assert _work is not None, "set before the fork"
    return _work(number)


def _begin(parent: int) -> None:
    """Leave Ctrl-C to the parent, use one processor, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
