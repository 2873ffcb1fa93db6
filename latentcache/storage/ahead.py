"""Doing storage operations ahead of their use, a bounded number at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

NUM_THREADS = 8
"""An object store answers in 10 to 100 ms whatever else it does; a local disk needs few."""


def map_ahead(
    operation: Callable[[ItemT], ResultT], items: Iterable[ItemT], *, num_threads: int = NUM_THREADS
) -> Iterator[ResultT]:
    """Yield ``operation(item)`` in the order of ``items``, at most 2 x ``num_threads`` ahead."""
    waiting: deque[Future[ResultT]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(operation, item))
                if len(waiting) >= 2 * num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
