"""Saying a thing again and again, as ``watch`` does, without loading everything each time."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from latentcache.core.log_lines import say as say_line

if TYPE_CHECKING:
    from latentcache.store import EncodingProgress

EVERY_S = 5.0
_SHARE = 0.2
"""Of the time at most so much is spent on looking: a long listing is not begun anew at once."""
_MAX_FAILURES = 20
"""Looks that fail one after the other before the last failure is told as an error."""


def watch(
    say: "Callable[[], Sequence[EncodingProgress]]",
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> "Sequence[EncodingProgress]":
    """Call ``say`` every few seconds until no encoding that is asked for misses anything.

    A look that storage fails is told and made again: a watcher outlives a lost network.

    Args:
        say: Prints how far a store is and returns the encodings.
        pause: Waits so many seconds; Ctrl-C ends it as it ends every command.
        clock: Seconds that only grow.

    Returns:
        What the last look found.

    Raises:
        OSError: The first look failed, or twenty in a row did.
    """
    failures, has_looked = 0, False
    while True:
        if sys.stdout.isatty():
            click.clear()
        began_s = clock()
        try:
            encodings = say()
        except OSError as error:
            failures += 1
            if not has_looked or failures >= _MAX_FAILURES:
                raise
            say_line(f"this look failed, trying again: {error}", level="warning")
        else:
            failures, has_looked = 0, True
            if encodings and not any(each.missing for each in encodings if not each.is_given_up):
                return encodings
        sys.stdout.flush()
        pause(max(EVERY_S, (clock() - began_s) * (1 / _SHARE - 1)))
