"""Progress on stderr: a bar on a terminal, plain lines every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from latentcache.core.log_lines import json_line, logs_are_json, say
from latentcache.terminal.output import duration_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import TaskID

    from latentcache.runner import Reporter, RunProgress

LINE_EVERY_S = 5.0


class LineReporter:
    """Writes a line now and then, for logs: text, or JSON where that is asked for."""

    def __init__(
        self,
        stream: TextIO,
        *,
        every_s: float = LINE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._every_s = every_s
        self._clock = clock
        self._stage = ""
        self._next_s = 0.0
        self._unshown: RunProgress | None = None

    def message(self, text: str) -> None:
        """Write one line."""
        self._write("message", text)

    def _write(self, event: str, text: str, **facts: Any) -> None:
        line = json_line(event, text, **facts) if logs_are_json() else text
        print(line, file=self._stream, flush=True)

    def update(self, progress: "RunProgress") -> None:
        """Write a line if the last one is old, the stage is new or the work is done."""
        now_s = self._clock()
        is_new, is_done = progress.stage != self._stage, progress.done == progress.total
        if is_new:
            self.close()
        if now_s < self._next_s and not (is_new or is_done):
            self._unshown = progress
            return
        self._show(progress, now_s)

    def close(self) -> None:
        """Write the newest numbers if no line has shown them."""
        if self._unshown is not None:
            self._show(self._unshown, self._clock())

    def _show(self, progress: "RunProgress", now_s: float) -> None:
        self._unshown = None
        self._stage, self._next_s = progress.stage, now_s + self._every_s
        total = f"/{progress.total:,}" if progress.total is not None else ""
        parts = [f"{progress.done:,}{total}", *facts_of(progress)]
        self._write("progress", f"{progress.stage}: {', '.join(parts)}", **_figures(progress))


class TerminalReporter:
    """Draws a bar per stage and a line of figures, at the bottom of the terminal."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<6}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
        )
        self._facts = ""
        self._live = Live(
            get_renderable=self._picture,
            console=Console(file=stream, highlight=False),
            refresh_per_second=4,
        )
        self._tasks: dict[str, TaskID] = {}

    def message(self, text: str) -> None:
        """Write one line above the bars."""
        # Not as markup: a path may hold square brackets.
        self._live.console.print(text, markup=False, soft_wrap=True)

    def update(self, progress: "RunProgress") -> None:
        """Move the stage's bar."""
        if not self._tasks:
            self._live.start()
        if progress.stage not in self._tasks:
            self._tasks[progress.stage] = self._bars.add_task(progress.stage, total=progress.total)
        task = self._tasks[progress.stage]
        self._bars.update(task, completed=progress.done, total=progress.total)
        # Under the bars: beside them it would not fit 80 columns.
        self._facts = ", ".join(facts_of(progress))

    def close(self) -> None:
        """Leave the last picture on the terminal and give it back."""
        if self._tasks:
            self._live.stop()

    def _picture(self) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        return Group(self._bars, Text(self._facts))


def facts_of(progress: "RunProgress") -> list[str]:
    """Return what is worth saying, in the order it is shown."""
    facts = [f"{progress.samples_per_s:,.4g} samples/s"]
    if progress.under_way:
        facts.append(f"{progress.under_way:,.4g} under way")
    if progress.source_bytes and progress.elapsed_s > 0:
        facts.append(f"{progress.source_bytes / progress.elapsed_s / 1e6:.1f} MB/s")
    if progress.stage == "encode":
        facts.append(f"encoder busy {progress.encoder_busy_share:.0%}")
        facts.append(f"decode queue {progress.decode_queue}")
    if progress.quarantined:
        facts.append(f"{progress.quarantined:,} quarantined")
    if progress.eta_s is not None and progress.done != progress.total:
        facts.append(f"{duration_text(progress.eta_s)} left")
    return facts


def _figures(progress: "RunProgress") -> dict[str, Any]:
    """Return the figures of a run as programs read them."""
    rates = {"samples_per_s": progress.samples_per_s, "eta_s": progress.eta_s}
    return {**asdict(progress), **rates}


def say_first(text: str) -> None:
    """Write one line on stderr before what takes seconds, imports included."""
    say(text)


@contextmanager
def reporting(stream: TextIO | None = None) -> Iterator["Reporter"]:
    """Yield whoever shows a run on ``stream``, by default stderr."""
    stream = stream or sys.stderr
    draws = stream.isatty() and not logs_are_json()
    reporter = TerminalReporter(stream) if draws else LineReporter(stream)
    try:
        yield reporter
    finally:
        reporter.close()


@contextmanager
def counting(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what is told (done, in all): a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty() or logs_are_json():
        yield lambda *_: None
        return
    import click

    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.length = max(1, total)
            bar.update(done - bar.pos)

        yield on_progress
