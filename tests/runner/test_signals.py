"""A stop that is asked for is never lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from latentcache.runner.workers.signals import lost_interrupts_repeated


class Interrupted:
    """Is asked to stop where no exception can leave."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _hears_interrupts() -> Iterator[None]:
    """What runs in the background of a shell is started deaf to SIGINT."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_an_interrupt_in_a_destructor_comes_again() -> None:
    with pytest.raises(KeyboardInterrupt), lost_interrupts_repeated():  # noqa: PT012
        made = Interrupted()
        del made
        for _ in range(500):
            time.sleep(0.01)


IN_A_FORK = """
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from latentcache.runner.workers.signals import lost_interrupts_repeated
os.register_at_fork(before=lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.01)))
try:
    with lost_interrupts_repeated():
        if os.fork() == 0:
            os._exit(0)
        time.sleep(5)
    print("lost")
except KeyboardInterrupt:
    print("stopped")
"""


def test_an_interrupt_while_a_process_is_forked_comes_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FORK], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("stopped\n", "")


def test_other_errors_there_are_told_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[object] = []
    previous, sys.unraisablehook = sys.unraisablehook, lambda lost: told.append(lost.exc_type)

    class Broken:
        def __del__(self) -> None:
            raise ValueError("lost")

    try:
        with lost_interrupts_repeated():
            made = Broken()
            del made
    finally:
        sys.unraisablehook = previous
    assert told == [ValueError]
