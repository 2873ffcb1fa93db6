"""Charts of several spaces: lines over one pair of axes, in the page's colours."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from latentcache.report import Mark, format_number, line, svg, text

Points = Sequence[tuple[float, float]]

STROKES = (
    "stroke:var(--main)", "stroke:var(--warn)", "stroke:var(--bad)", "stroke:var(--ink)",
    "stroke:var(--soft)", "stroke:var(--main);stroke-dasharray:5 3",
    "stroke:var(--warn);stroke-dasharray:5 3", "stroke:var(--bad);stroke-dasharray:5 3",
)  # fmt: skip
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 300, 64, 14, 14, 40


def chart(
    series: Mapping[str, Points], *, across: str, up: str, is_log: bool = False
) -> Markup | None:
    """Return lines, one a space; None where there is nothing to draw.

    Args:
        series: Points by space.
        across: What the horizontal axis counts.
        up: What the vertical axis counts.
        is_log: Both axes are logarithmic; what is not positive is left out.
    """
    drawn = {name: _finite(points, is_log=is_log) for name, points in series.items()}
    points = [point for each in drawn.values() for point in each]
    if len(points) < 2:
        return None
    low_x, high_x = _range([x for x, _ in points])
    low_y, high_y = _range([y for _, y in points])

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = _LEFT + (point[0] - low_x) / (high_x - low_x) * (_WIDTH - _LEFT - _RIGHT)
        y = _TOP + (high_y - point[1]) / (high_y - low_y) * (_HEIGHT - _TOP - _BOTTOM)
        return x, y

    bottom = _HEIGHT - _BOTTOM
    marks = [
        line("axis", _LEFT, bottom, _WIDTH - _RIGHT, bottom),
        line("axis", _LEFT, _TOP, _LEFT, bottom),
        text(_LEFT, bottom + 16, _number(low_x, is_log=is_log), {}),
        text(_WIDTH - _RIGHT, bottom + 16, _number(high_x, is_log=is_log), {"text-anchor": "end"}),
        text(_LEFT - 6, bottom, _number(low_y, is_log=is_log), {"text-anchor": "end"}),
        text(_LEFT - 6, _TOP + 8, _number(high_y, is_log=is_log), {"text-anchor": "end"}),
        text((_LEFT + _WIDTH) / 2, _HEIGHT - 6, across, {"text-anchor": "middle"}),
        text(_LEFT + 6, _TOP + 8, up, {}),
    ]
    for number, points in enumerate(drawn.values()):
        if points:
            way = "L".join(f"{x:.1f} {y:.1f}" for x, y in map(place, points))
            style = STROKES[number % len(STROKES)]
            marks.append(Mark("path", {"class": "curve", "style": style, "d": f"M{way}"}))
    label = f"{up} against {across} of {', '.join(drawn)}"
    return svg(_WIDTH, _HEIGHT, label, marks)


def _finite(points: Points, *, is_log: bool) -> list[tuple[float, float]]:
    kept = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if is_log:
        kept = [(math.log10(x), math.log10(y)) for x, y in kept if x > 0 and y > 0]
    return kept


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _number(value: float, *, is_log: bool) -> str:
    return format_number(10**value if is_log else value)
