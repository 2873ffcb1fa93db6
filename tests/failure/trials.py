"""Disturbing runs one after the other: how long, and what came of each."""

import sys
import time
import traceback
from collections.abc import Callable
from typing import TypeVar

DisturbanceT = TypeVar("DisturbanceT")

ENDS = ("equal", "missed", "FAILED")
"""Bytes of an undisturbed run; the same, but nobody was there to disturb; anything else."""


class Limit:
    """``N`` trials, or for ``Ns`` seconds from now."""

    def __init__(self, text: str) -> None:
        self._most = sys.maxsize if text.endswith("s") else int(text)
        seconds = float(text[:-1]) if text.endswith("s") else float("inf")
        self._ends_s = time.monotonic() + seconds

    def is_reached(self, count: int) -> bool:
        """Whether so many trials are enough, or it is late enough."""
        return count >= self._most or time.monotonic() > self._ends_s


def tried(disturb_and_recover: Callable[[DisturbanceT], bool], one: DisturbanceT) -> str:
    """Return which of ``ENDS`` it came to; a failure is printed."""
    try:
        return "equal" if disturb_and_recover(one) else "missed"
    except AssertionError as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(f"FAILED {one}\n{where.line}\n{error}", flush=True)
        return "FAILED"
