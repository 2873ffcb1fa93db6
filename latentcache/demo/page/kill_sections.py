"""Sections about the demo's own run: the kill test, and what was done in which order."""

from collections.abc import Sequence

from latentcache.demo.page.demo_facts import KillTest, Step, UnitDigests
from latentcache.report import (
    Content,
    Markup,
    TableColumn,
    element,
    figure,
    format_seconds,
    long_table,
    number_columns,
    rect,
    section,
    svg,
    table,
    text_columns,
)

_ROWS_SHOWN = 12
_DIGEST_DIGITS = 12


def kill_section(test: KillTest) -> Markup:
    """Return the digests of a killed and resumed build beside an undisturbed one."""
    total = len(test.units)
    lead = (
        f"A second build was killed with SIGKILL when {test.num_committed_at_kill} of {total} "
        "units were committed, and then the same command was simply run again. "
        f"{test.num_equal} of {total} units have the same bytes as in the build that was never "
        "disturbed, tar and metadata."
    )
    command = element("pre", None, test.command)
    columns = [
        TableColumn(heading="unit", kind="code"),
        *text_columns("bucket"),
        *number_columns("samples"),
        TableColumn(heading="undisturbed: tar, meta", kind="code"),
        TableColumn(heading="killed: tar, meta", kind="code"),
        *text_columns("committed"),
        TableColumn(heading="bytes", kind="good" if test.num_equal == total else "bad"),
    ]
    strip = figure(
        element("div", {"class": "plot"}, units_svg(test.units)),
        "One square a unit, in plan order. Strong: committed when the kill came. Faint: made by "
        "the second run. Red, if there is any: bytes that differ.",
    )
    rows = [_digest_row(unit) for unit in test.units]
    caption = (
        "First digits of SHA-256, taken from the files themselves. A unit is one tar and the "
        "metadata that belongs to it."
    )
    return section(
        "Killed in the middle, same bytes in the end",
        lead,
        command,
        strip,
        figure(long_table(columns, rows, num_shown=_ROWS_SHOWN), caption),
    )


def _digest_row(unit: UnitDigests) -> tuple[Content, ...]:
    first, second = (
        f"{unit.tar[side][:_DIGEST_DIGITS] or 'no tar'} {unit.meta[side][:_DIGEST_DIGITS]}"
        for side in (0, 1)
    )
    when = "before the kill" if unit.was_committed_before_kill else "after"
    verdict = "equal" if unit.is_equal else "DIFFERENT"
    return (unit.unit, unit.bucket, unit.num_samples, first, second, when, verdict)


def units_svg(units: Sequence[UnitDigests]) -> Markup:
    """Return a square per unit, in order: committed when the kill came or not, equal or not."""
    per_line, pitch = 40, 14
    lines = -(-len(units) // per_line)
    marks = []
    for index, unit in enumerate(units):
        style = "bar" if unit.was_committed_before_kill else "pale"
        left, top = index % per_line * pitch, index // per_line * pitch
        marks.append(rect(style if unit.is_equal else "bad", left, top, pitch - 3, pitch - 3))
    before = sum(unit.was_committed_before_kill for unit in units)
    label = f"{before} of {len(units)} units committed before the kill"
    return svg(per_line * pitch, max(1, lines) * pitch, label, marks)


def steps_section(steps: Sequence[Step]) -> Markup:
    """Return what was done, in order, with times."""
    columns = [*text_columns("step", "result"), *number_columns("time")]
    rows = [(step.what, step.result, format_seconds(step.elapsed_s)) for step in steps]
    total = ("all", "", format_seconds(sum(step.elapsed_s for step in steps)))
    return section(
        "What was done", "In this order, by one command.", table(columns, rows, total=total)
    )
