"""Feeding a training run from stores: order by arithmetic, batches at the speed of memory."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentcache.loader.batch import Batch as Batch
    from latentcache.loader.loader import LatentLoader as LatentLoader
    from latentcache.loader.loader import LoaderOptions as LoaderOptions
    from latentcache.loader.loader import StreamCoverage as StreamCoverage
    from latentcache.loader.normalise import Normalise as Normalise
    from latentcache.loader.sources import Source as Source

_MODULES = {
    "Batch": "batch",
    "LatentLoader": "loader",
    "LoaderOptions": "loader",
    "Normalise": "normalise",
    "Source": "sources",
    "StreamCoverage": "loader",
}

__all__ = sorted(_MODULES)  # noqa: PLE0605  one table, so that no name is listed twice


def __getattr__(name: str) -> Any:
    # torch takes a second to load: whoever needs a source alone does not wait for it.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
