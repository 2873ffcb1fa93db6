"""Reports: self-contained HTML pages and pictures from plain data."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentcache.report.demo_facts import DemoPage
    from latentcache.report.facts import StorePage
    from latentcache.report.gather import read_store_page
    from latentcache.report.pages import demo_page, stats_page
    from latentcache.report.projection import project

__all__ = ["DemoPage", "StorePage", "demo_page", "project", "read_store_page", "stats_page"]

_HOMES = {
    "demo_facts": ["DemoPage"],
    "facts": ["StorePage"],
    "gather": ["read_store_page"],
    "pages": ["demo_page", "stats_page"],
    "projection": ["project"],
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"latentcache.report.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
