"""SIGTERM taken for Ctrl-C, and neither of them lost, wherever a run is."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_AGAIN_S = 0.05


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM, as schedulers and ``ray job stop`` send it, like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def lost_interrupts_repeated() -> Iterator[None]:
    """Raise an interrupt again that came where Python can raise nothing.

    A signal's exception is ignored if it arrives in a callback of a fork, in a destructor or in
    a call back from C: while Ray starts its processes that is a good part of the time.
    """
    previous = sys.unraisablehook

    def hook(lost: "UnraisableHookArgs", /) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            # Not at once: what is raised in this hook is lost too.
            threading.Timer(_AGAIN_S, signal.raise_signal, [signal.SIGINT]).start()
        else:
            previous(lost)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = previous
