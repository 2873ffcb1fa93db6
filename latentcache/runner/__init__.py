"""The only package that knows Ray: it joins the stages into jobs.

Names load when first used: Ray and torch take seconds, and a recipe needs neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentcache.runner.encoding import EncodeResult as EncodeResult
    from latentcache.runner.estimating import Calibration as Calibration
    from latentcache.runner.estimating import Estimate as Estimate
    from latentcache.runner.estimating import estimate as estimate
    from latentcache.runner.jobs import RunStoppedError as RunStoppedError
    from latentcache.runner.jobs import build as build
    from latentcache.runner.jobs import encode_column as encode_column
    from latentcache.runner.jobs import plan_corpus as plan_corpus
    from latentcache.runner.options import EncodeOptions as EncodeOptions
    from latentcache.runner.options import Resources as Resources
    from latentcache.runner.planning import PlanRequest as PlanRequest
    from latentcache.runner.planning import PlanResult as PlanResult
    from latentcache.runner.progress import Reporter as Reporter
    from latentcache.runner.progress import RunProgress as RunProgress
    from latentcache.runner.progress import SilentReporter as SilentReporter
    from latentcache.runner.request import EncodeRequest as EncodeRequest

_HOMES = {
    "encoding": ("EncodeResult",),
    "estimating": ("Calibration", "Estimate", "estimate"),
    "jobs": ("RunStoppedError", "build", "encode_column", "plan_corpus"),
    "options": ("EncodeOptions", "Resources"),
    "planning": ("PlanRequest", "PlanResult"),
    "progress": ("Reporter", "RunProgress", "SilentReporter"),
    "request": ("EncodeRequest",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULES)  # noqa: PLE0605  one table, so that no name is listed twice


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
