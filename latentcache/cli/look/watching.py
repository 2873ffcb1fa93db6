"""Saying a thing again and again, as ``watch`` does, without loading everything each time."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from latentcache.cli.look.standing import Standing

EVERY_S = 5.0


def watch(
    say: "Callable[[], Sequence[Standing]]", *, pause: Callable[[float], None] = time.sleep
) -> None:
    """Call ``say`` every few seconds until no encoding that is asked for misses anything.

    Args:
        say: Prints how far a store is and returns the standings.
        pause: Waits so many seconds; Ctrl-C ends it as it ends every command.
    """
    while True:
        if sys.stdout.isatty():
            click.clear()
        standings = say()
        if standings and not any(each.missing for each in standings if not each.is_given_up):
            return
        sys.stdout.flush()
        pause(EVERY_S)
