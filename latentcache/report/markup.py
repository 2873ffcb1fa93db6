"""Markup: HTML built from values, escaped unless it is markup already."""

from collections.abc import Iterable, Mapping
from html import escape

Attributes = Mapping[str, str | int | float]

_VOID = frozenset({"img", "meta", "link", "br", "hr", "rect", "line", "path", "circle"})


class Markup(str):
    """Text that is HTML or SVG already and is not escaped again, here and in templates."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return the text as it is: what templates ask before they escape."""
        return self


Content = str | int | float | Markup


def element(name: str, attributes: Attributes | None = None, *children: Content) -> Markup:
    """Return one element; children that are not ``Markup`` are escaped.

    Args:
        name: Tag name.
        attributes: Values are escaped; names are the caller's own.
        children: In order.
    """
    pairs = (attributes or {}).items()
    written = "".join(f' {key}="{_escaped(str(value))}"' for key, value in pairs)
    if name in _VOID:
        assert not children, f"{name} has no children"
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Content], separator: str = "") -> Markup:
    """Return children one after the other; those that are not ``Markup`` are escaped."""
    return Markup(separator.join(_safe(child) for child in children))


def _safe(child: Content) -> str:
    return child if isinstance(child, Markup) else _escaped(str(child))


def _escaped(text: str) -> str:
    # A file name that is not UTF-8 arrives with surrogates; a page must still be writable.
    return escape(text, quote=True).encode("utf-8", "replace").decode("utf-8")
