"""A time limit that also ends C code: the process exits when it passes."""

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_running: list[tuple[float, int]] = []
"""Seconds and descriptor of the block that is under way; at most one."""


@contextmanager
def time_limit(seconds: float, *, dump_fd: int | None = None) -> Iterator[None]:
    """End this process with exit status 1 if the block takes longer than ``seconds``.

    faulthandler's own thread needs no GIL, so it stops a decoder that hangs in C, where
    signals, threads and exceptions do not. The timer is one for the process: blocks do
    not nest. Arming and disarming take about 55 us.

    Args:
        seconds: Wall time for one sample, above 0.
        dump_fd: Where the traceback goes when time is up; nowhere if None.
    """
    target = _nowhere() if dump_fd is None else dump_fd
    faulthandler.dump_traceback_later(seconds, exit=True, file=target)
    _running.append((seconds, target))
    try:
        yield
    finally:
        _running.clear()
        faulthandler.cancel_dump_traceback_later()


def extend_time_limit() -> None:
    """Begin the time limit of the running block anew; does nothing where there is none.

    For who reads a file of any length: a limit for each stretch, not for the whole.
    """
    for seconds, target in _running:
        faulthandler.dump_traceback_later(seconds, exit=True, file=target)


@cache
def _nowhere() -> int:
    # faulthandler keeps the number, so the descriptor must stay open.
    return os.open(os.devnull, os.O_WRONLY)
