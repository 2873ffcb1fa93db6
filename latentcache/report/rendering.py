"""Templates: HTML with values escaped wherever they stand; see ``templates/``."""

from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from latentcache.report.markup import Markup


def render(template: str, **values: Any) -> Markup:
    """Return a template filled in; values are escaped unless they are ``Markup``.

    Args:
        template: Name of a file in ``templates/`` without its ending.
        values: By the names that the template uses; a missing one is an error.
    """
    # A file name that is not UTF-8 arrives with surrogates; a page must still be writable.
    text = _environment().get_template(f"{template}.html.j2").render(**values)
    return Markup(text.encode("utf-8", "replace").decode("utf-8"))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("latentcache.report"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
