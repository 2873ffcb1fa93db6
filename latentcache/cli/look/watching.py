"""Saying a thing again and again, as ``watch`` does, without loading everything each time."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from latentcache.store import EncodingProgress

EVERY_S = 5.0


def watch(
    say: "Callable[[], Sequence[EncodingProgress]]", *, pause: Callable[[float], None] = time.sleep
) -> None:
    """Call ``say`` every few seconds until no encoding that is asked for misses anything.

    Args:
        say: Prints how far a store is and returns the encodings.
        pause: Waits so many seconds; Ctrl-C ends it as it ends every command.
    """
    while True:
        if sys.stdout.isatty():
            click.clear()
        encodings = say()
        if encodings and not any(each.missing for each in encodings if not each.is_given_up):
            return
        sys.stdout.flush()
        pause(EVERY_S)
