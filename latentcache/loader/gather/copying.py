"""Copying rows out of a view: one call for small ones, threads of our own for large ones."""

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

import torch

LARGE_ROW_BYTES = 2**18
"""From here on a row is copied by itself, by one of several threads.

Measured 2026-11-22 on 2 busy cores, median of 60: a batch of 4 rows of 4 MiB took 7.6 ms by
``index_select`` on one thread, 59 ms on two of torch's (which wait for each other, spinning,
while somebody else has the core) and 7.8 to 9.8 ms by two of these. Rows of 8 KiB lose: 0.73
and 1.0 ms.
"""

MAX_THREADS = 4
"""Two or three reach what the memory of most machines gives."""

_Job = TypeVar("_Job")


def copy_rows(view: torch.Tensor, at: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
    """Return some rows of a view of integers, in order.

    Args:
        view: [rows, values], its rows contiguous; they may overlap.
        at: int64 [B].
        out: Contiguous, as many bytes as the rows have, of any shape and dtype; None is a
            fresh tensor.
    """
    row_bytes = view.shape[1] * view.element_size()
    if row_bytes < LARGE_ROW_BYTES:
        if out is None:
            return torch.index_select(view, 0, at)
        torch.index_select(view, 0, at, out=out.view(len(at), -1).view(view.dtype))
        return out
    if out is None:
        out = torch.empty((len(at), view.shape[1]), dtype=view.dtype)
    assert out.is_contiguous(), "rows are copied as bytes"
    first, pitch = view.data_ptr(), view.stride(0) * view.element_size()
    target_address = out.data_ptr()
    jobs = [
        (target_address + number * row_bytes, first + place * pitch)
        for number, place in enumerate(at.tolist())
    ]

    def copy(job: tuple[int, int], _alive: object = (view, out)) -> None:
        # ctypes gives the interpreter lock up. Memory is kept until the last thread is done,
        # also where the first was interrupted.
        ctypes.memmove(*job, row_bytes)

    in_threads(copy, jobs)
    return out


def in_threads(function: Callable[[_Job], object], jobs: Sequence[_Job]) -> None:
    """Call a function for each job; whoever asks does a share.

    Raises:
        BaseException: Of the function, once all shares have ended.
    """

    def share(first: int) -> None:
        for job in jobs[first::num_shares]:
            function(job)

    num_shares = max(1, min(num_threads(), len(jobs)))
    if num_shares < 2:
        share(0)
        return
    others = [_pool(os.getpid()).submit(share, number) for number in range(1, num_shares)]
    try:
        share(0)
    finally:
        wait(others)
    for other in others:
        other.result()


def num_threads() -> int:
    """Return how many threads copy large rows, the caller included."""
    has_affinity = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
    return max(1, min(MAX_THREADS, allowed or 1))


def use_one_thread() -> None:
    """Make torch use no threads but this one for what this one asks of it.

    Whoever began this thread sets its own number again afterwards: threads that begin later
    take over the last setting made, whichever thread made it.
    """
    torch.set_num_threads(1)
    torch.get_num_threads()  # settles it: the first look takes over the last setting made


@lru_cache(maxsize=1)
def _pool(_process: int) -> ThreadPoolExecutor:
    """Return the threads, each of which has one thread of torch's."""
    pool = ThreadPoolExecutor(MAX_THREADS - 1, thread_name_prefix="latentcache-copy")
    together = Barrier(MAX_THREADS - 1)

    def begin() -> None:
        use_one_thread()
        together.wait()  # or one thread would begin for the others

    before = torch.get_num_threads()
    wait([pool.submit(begin) for _ in range(MAX_THREADS - 1)])
    torch.set_num_threads(before)
    return pool
