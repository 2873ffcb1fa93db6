"""Figures of the demo's own run: its losses, how fast batches came, and the units of its kill."""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from latentcache.demo.page.demo_facts import UnitDigests
from latentcache.demo.page.training_facts import LoaderRace, SampleGrid
from latentcache.report import Floats, Mark, format_count, line, path, rect, svg, text

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 700, 14, 236
_SMOOTHED_SHARE = 0.02


def loss_svg(losses: Sequence[float], grids: Sequence[SampleGrid]) -> Markup:
    """Return the loss of every step, faint, under its running mean; marks where samples are.

    The axis begins at 0 and ends above the running mean's highest value: the first steps
    of a run may lie beyond it.
    """
    values = np.asarray(losses, dtype=np.float64)
    smooth = smoothed(values, max(1, round(_SMOOTHED_SHARE * len(values))))
    ticks = axis_ticks(float(smooth.max()))
    top = ticks[-1]
    marks = []
    for tick in ticks:
        y = _height(tick, top)
        marks += [
            line("axis", _LEFT, y, _RIGHT, y),
            text(_LEFT - 8, y + 4, f"{tick:g}", {"text-anchor": "end"}),
        ]
    for grid in grids:
        x = _place(grid.step, len(values))
        label = f"step {format_count(grid.step)}"
        marks += [
            line("zero", x, _TOP, x, _BOTTOM),
            text(x - 5, _BOTTOM + 18, label, {"text-anchor": "end"}),
        ]
    marks += [_curve("faint", values, top), _curve("curve", smooth, top)]
    label = f"loss over {len(values)} steps, from {smooth[0]:.2f} to {smooth[-1]:.2f}"
    return svg(_RIGHT + 4, _BOTTOM + 26, label, marks)


def smoothed(values: Floats, window: int) -> Floats:
    """Return the mean of each value and the ``window - 1`` before it, of fewer at the start."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(0, end - window)
    means: Floats = (total[end] - total[start]) / (end - start)
    return means


def axis_ticks(highest: float) -> list[float]:
    """Return three to seven round values from 0 to just above ``highest``."""
    rough = highest / 5 if math.isfinite(highest) and highest > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough)
    # What is a whole number of steps but for its last bits needs no further one.
    count = max(1, math.ceil(highest / step - 1e-9)) if math.isfinite(highest) else 1
    return [float(f"{index * step:.12g}") for index in range(count + 1)]


def race_svg(race: LoaderRace) -> Markup:
    """Return a bar for each way of reading, to scale; ours is the strong one."""
    row, left, right = 34, 150, 700
    ways = [*((one, "pale") for one in race.others), (race.loader, "bar")]
    most = max(one.samples_per_s for one, _ in ways)
    marks = []
    for index, (one, style) in enumerate(ways):
        middle = index * row + row / 2
        length = max(1.5, (right - left - 110) * one.samples_per_s / most)
        marks += [
            text(0, middle + 4, one.name, {"class": "name"}),
            rect(style, left, middle - 9, length, 18),
            text(left + length + 7, middle + 4, f"{one.samples_per_s:,.0f} a second", {}),
        ]
    label = f"samples a second of {len(ways)} ways of reading"
    return svg(right, row * len(ways), label, marks)


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


def _curve(style: str, values: Floats, top: float) -> Mark:
    points = []
    for index, value in enumerate(values):
        x, y = _place(index + 1, len(values)), _height(min(float(value), top), top)
        points.append(f"{x:.1f} {y:.1f}")
    return path(style, "M" + "L".join(points))


def _place(step: int, num_steps: int) -> float:
    return _LEFT + (_RIGHT - _LEFT) * step / num_steps


def _height(value: float, top: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * value / top, 1)
