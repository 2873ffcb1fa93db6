"""What the demo says on stdout while it runs, kept for its page."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from latentcache.demo.page import Step


class Narrator:
    """Tells each step on stdout as it begins and ends, and keeps them for the page."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._started_s = time.monotonic()
        self._result = ""

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Tell a step; what is said meanwhile is its result."""
        from latentcache.demo.page import Step

        click.secho(f"\n{len(self.steps) + 1}. {what}", bold=True)
        start_s, self._result = time.monotonic(), ""
        yield
        elapsed_s = time.monotonic() - start_s
        click.secho(f"   {elapsed_s:.1f} s", dim=True)
        self.steps.append(Step(what=what, result=self._result, elapsed_s=elapsed_s))

    def say(self, text: str) -> None:
        """Tell a line; the last one of a step is its result."""
        self._result = text
        click.echo(f"   {text}")

    @property
    def elapsed_s(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self._started_s
