"""How far a comparison is: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from latentcache.core.log_lines import logs_are_json, say
from latentcache.terminal import duration_text

if TYPE_CHECKING:
    from latentcache.compare import Expected, Step

SECONDS_A_LINE = 10.0
_COUNTED = {"samples": "samples", "probe": "steps of the probe"}


def say_expected(expected: "Sequence[Expected]") -> None:
    """Say what each space will take, before it is measured."""
    fresh = [each for each in expected if not each.is_kept]
    for each in expected:
        if each.is_kept:
            say(f"{each.name}: measured before, read from --keep", event="compare")
    if fresh:
        parts = ", ".join(_expected_text(each) for each in fresh)
        total = _about(sum(each.seconds for each in fresh))
        say(f"{total} on this machine: {parts}", event="compare")


def _expected_text(expected: "Expected") -> str:
    parts = [f"{duration_text(expected.samples_s)} for samples ({expected.num_decoded:,} decoded)"]
    if expected.probe_s:
        parts.append(f"{duration_text(expected.probe_s)} for the probe")
    return f"{expected.name} {' and '.join(parts)}"


class ComparisonProgress:
    """Shows steps as they come; closed at the end, or where it is stopped."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._last_s = clock, clock()
        self._stage: tuple[str, str] | None = None
        self._draws = sys.stderr.isatty() and not logs_are_json()
        self._bars, self._bar = ExitStack(), None

    def __enter__(self) -> "ComparisonProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.close()

    def step(self, step: "Step") -> None:
        """Show one step."""
        is_new = self._stage != (step.space, step.stage)
        self._stage = (step.space, step.stage)
        if self._draws:
            self._draw(step, is_new=is_new)
        elif is_new or step.done == step.total or self._clock() - self._last_s > SECONDS_A_LINE:
            self._last_s = self._clock()
            text = f"{step.space}: {step.done:,}/{step.total:,} {_COUNTED[step.stage]}"
            say(
                f"{text}, {_left(step)}",
                event="compare",
                space=step.space,
                stage=step.stage,
                left_s=step.left_s,
            )

    def _draw(self, step: "Step", *, is_new: bool) -> None:
        if is_new:
            self._bars.close()
            bar: Any = click.progressbar(
                length=step.total,
                label=f"{step.space}, {_COUNTED[step.stage]}",
                show_eta=False,
                show_pos=True,
                item_show_func=lambda left: left,
                file=sys.stderr,
            )
            self._bar = self._bars.enter_context(bar)
        bar = self._bar
        bar.update(step.done - bar.pos, _left(step))


def _left(step: "Step") -> str:
    return f"{_about(step.left_s)} left"


def _about(seconds: float) -> str:
    return f"{'about ' if seconds >= 1 else ''}{duration_text(seconds)}"
