"""Marks that figures are made of; colours come from the page, by class."""

from collections.abc import Sequence

from latentcache.report.markup import Attributes, Markup, element, join


def svg(width: float, height: float, label: str, marks: Sequence[Markup]) -> Markup:
    """Return a figure as wide as its place; ``label`` says it to those who cannot see it."""
    attributes: Attributes = {
        "viewBox": f"0 0 {width:g} {height:g}",
        "role": "img",
        "aria-label": label,
    }
    return element("svg", attributes, join(marks))


def text(x: float, y: float, words: str, attributes: Attributes) -> Markup:
    """Return words; ``x`` is their left end unless a ``text-anchor`` says otherwise."""
    return element("text", {"x": f"{x:g}", "y": f"{y:g}", **attributes}, words)


def line(style: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """Return a straight line."""
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return element("line", {"class": style, **{name: f"{v:g}" for name, v in ends.items()}})


def rect(style: str, x: float, y: float, width: float, height: float) -> Markup:
    """Return a bar with slightly rounded corners."""
    sides = {"x": x, "y": y, "width": width, "height": height}
    values = {name: f"{value:.1f}" for name, value in sides.items()}
    return element("rect", {"class": style, "rx": 2, **values})
