"""A word about storage that does not answer: who waits for what, after ten seconds."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

logger = logging.getLogger(__name__)

FIRST_WORD_S = 10.0
"""Then again after twice as long, and so on."""
_LOOK_EVERY_S = 1.0


class _Wait:
    """One operation under way."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.began_s = time.monotonic()
        self.next_word_s = FIRST_WORD_S

    def tell_if_long(self, num_others: int) -> None:
        """Say what is waited for, if it is time to."""
        waited_s = time.monotonic() - self.began_s
        if waited_s < self.next_word_s:
            return
        self.next_word_s *= 2
        others = f" (and {num_others} more)" if num_others else ""
        logger.warning("waiting for %s for %.0f s%s", self.what, waited_s, others)


class _Waits:
    """All operations of this process, and one thread that looks at them while there are any."""

    def __init__(self) -> None:
        self._numbers = count()
        self._waits: dict[int, _Wait] = {}
        self._lock = threading.Lock()
        self._is_watched = False

    def begin(self, what: str) -> int:
        """Note an operation, and return its number."""
        number = next(self._numbers)
        with self._lock:
            self._waits[number] = _Wait(what)
            must_start, self._is_watched = not self._is_watched, True
        if must_start:
            threading.Thread(target=self._watch, daemon=True, name="storage-waits").start()
        return number

    def end(self, number: int) -> None:
        """Forget an operation."""
        with self._lock:
            self._waits.pop(number, None)

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK_EVERY_S)
            with self._lock:
                if not self._waits:
                    self._is_watched = False
                    return
                oldest, num_others = next(iter(self._waits.values())), len(self._waits) - 1
            # One word for all: hundreds of reads wait for one dead host.
            oldest.tell_if_long(num_others)


_waits = _Waits()


def _forget() -> None:
    global _waits  # noqa: PLW0603  a forked process has none of the threads
    _waits = _Waits()


os.register_at_fork(after_in_child=_forget)


@contextmanager
def told_when_slow(what: str) -> Iterator[None]:
    """Warn, naming ``what``, when the block takes longer than ten seconds."""
    waits = _waits
    number = waits.begin(what)
    try:
        yield
    finally:
        waits.end(number)
