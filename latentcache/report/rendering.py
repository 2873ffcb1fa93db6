"""Templates: HTML with values escaped wherever they stand; see ``templates/``."""

import base64
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from latentcache.report.moving import webp_bytes
from latentcache.report.pictures import png_bytes
from latentcache.report.store_facts import Rgb
from latentcache.report.wording import (
    format_bytes,
    format_count,
    format_number,
    format_ratio,
    format_seconds,
    format_share,
)

_PACKAGE = "latentcache.report"


class Section(NamedTuple):
    """A part of a page: its heading, which the contents name, and what stands below."""

    title: str
    body: Markup


def section(title: str, template: str, *, package: str = _PACKAGE, **values: Any) -> Section:
    """Return a section whose body is a template filled in; see ``render``."""
    return Section(title, render(template, package=package, **values))


def render(template: str, *, package: str = _PACKAGE, **values: Any) -> Markup:
    """Return a template filled in; values are escaped unless they are ``Markup``.

    Args:
        template: Name of a file in ``templates/`` without its ending.
        package: Whose ``templates/`` come first, before those of this room.
        values: By the names that the template uses; a missing one is an error.
    """
    # A file name that is not UTF-8 arrives with surrogates; a page must still be writable.
    text = _environment(package).get_template(f"{template}.html.j2").render(**values)
    return Markup(text.encode("utf-8", "replace").decode("utf-8"))


@lru_cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(_PACKAGE)]),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "bytes": format_bytes,
        "count": format_count,
        "number": format_number,
        "ratio": format_ratio,
        "seconds": format_seconds,
        "share": format_share,
        "slug": _slug,
        "png": _png,
        "webp": _webp,
    }
    return environment


def _slug(title: str) -> str:
    """Return what an address calls a section."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _png(pixels_HWC: Rgb) -> str:
    return _data_uri("png", png_bytes(pixels_HWC))


def _webp(frames: Sequence[Rgb], frame_rate_fps: float) -> str:
    return _data_uri("webp", webp_bytes(frames, frame_rate_fps=frame_rate_fps))


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
