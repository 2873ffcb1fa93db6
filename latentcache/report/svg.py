"""Marks that figures are made of; colours come from the page, by class."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from latentcache.report.rendering import render


class Mark(NamedTuple):
    """One element of a figure, and the words in it."""

    name: str
    attributes: Mapping[str, str]
    words: str = ""


def svg(width: float, height: float, label: str, marks: Sequence[Mark]) -> Markup:
    """Return a figure as wide as its place; ``label`` says it to those who cannot see it."""
    return render("svg", box=f"0 0 {width:g} {height:g}", label=label, marks=marks)


def text(x: float, y: float, words: str, attributes: Mapping[str, str]) -> Mark:
    """Return words; ``x`` is their left end unless a ``text-anchor`` says otherwise."""
    return Mark("text", {"x": f"{x:g}", "y": f"{y:g}", **attributes}, words)


def line(style: str, x1: float, y1: float, x2: float, y2: float) -> Mark:
    """Return a straight line."""
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return Mark("line", {"class": style, **{name: f"{v:g}" for name, v in ends.items()}})


def rect(style: str, x: float, y: float, width: float, height: float) -> Mark:
    """Return a bar with slightly rounded corners."""
    sides = {"x": x, "y": y, "width": width, "height": height}
    values = {name: f"{value:.1f}" for name, value in sides.items()}
    return Mark("rect", {"class": style, "rx": "2", **values})


def path(style: str, way: str) -> Mark:
    """Return a path; ``way`` is its ``d``."""
    return Mark("path", {"class": style, "d": way})
