import io

import pytest

from latentcache.runner import RunTimes
from latentcache.runner.run_progress import RunProgress
from latentcache.terminal import LineReporter, TerminalReporter, facts_of, reporting


def progress(done: int, stage: str = "encode", **changes: object) -> RunProgress:
    values: dict[str, object] = {
        "stage": stage,
        "done": done,
        "total": 100,
        "quarantined": 2,
        "source_bytes": 10_000_000,
        "elapsed_s": 5.0,
        "times": RunTimes(shares={"encode": 0.93}),
        "decode_queue": 4,
        "num_actors": 2,
    }
    return RunProgress(**{**values, **changes})


def test_everything_worth_knowing_is_said() -> None:
    assert facts_of(progress(50)) == [
        "10 samples/s",
        "2.0 MB/s",
        "encoder busy 93%",
        "decode queue 4",
        "2 quarantined",
        "5 s left",
    ]


def test_a_clip_of_minutes_shows_that_it_moves() -> None:
    facts = facts_of(progress(0, total=2, under_way=0.5, source_bytes=0, quarantined=0))
    assert facts[:2] == ["0.1 samples/s", "0.5 under way"]
    assert facts[-1] == "15 s left"


def test_a_scan_of_unknown_length_says_what_it_has() -> None:
    scan = progress(50, "scan", total=None, source_bytes=0, quarantined=0)
    assert facts_of(scan) == ["10 samples/s"]


def test_lines_come_now_and_then_and_at_each_end() -> None:
    now_s = 0.0
    stream = io.StringIO()
    reporter = LineReporter(stream, every_s=5.0, clock=lambda: now_s)
    for now_s, done in ((0.0, 1), (1.0, 2), (4.9, 3), (5.0, 4), (6.0, 100)):  # noqa: B007
        reporter.update(progress(done, "scan"))
    reporter.message("next")
    reporter.update(progress(0))
    reporter.update(progress(7))
    reporter.close()
    reporter.close()
    shown = [line.split(",")[0] for line in stream.getvalue().splitlines()]
    assert shown == [
        "scan: 1/100",
        "scan: 4/100",
        "scan: 100/100",
        "next",
        "encode: 0/100",
        "encode: 7/100",
    ]


def test_a_terminal_shows_a_bar_per_stage_and_messages_as_they_are() -> None:
    stream = io.StringIO()
    reporter = TerminalReporter(stream)
    reporter.message("a path with [red]brackets[/red]")
    reporter.update(progress(10, "scan", total=None))
    reporter.update(progress(50))
    reporter.close()
    shown = stream.getvalue()
    assert "[red]brackets[/red]" in shown
    assert "scan" in shown
    assert "50/100" in shown
    assert "encoder busy 93%" in shown.replace("\n", " ")


def test_a_log_gets_lines_and_a_terminal_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with reporting(stream) as reporter:
        assert isinstance(reporter, LineReporter)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    with reporting(stream) as reporter:
        assert isinstance(reporter, TerminalReporter)
