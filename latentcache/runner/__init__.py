"""The only package that knows Ray: it joins the stages into jobs."""

from latentcache.runner.build import RunStoppedError, build, encode_column, plan_corpus
from latentcache.runner.encoding import EncodeRequest, EncodeResult
from latentcache.runner.estimating import Calibration, Estimate, estimate
from latentcache.runner.options import EncodeOptions, Resources
from latentcache.runner.planning import PlanRequest, PlanResult
from latentcache.runner.progress import Reporter, RunProgress, SilentReporter

__all__ = [
    "Calibration",
    "EncodeOptions",
    "EncodeRequest",
    "EncodeResult",
    "Estimate",
    "PlanRequest",
    "PlanResult",
    "Reporter",
    "Resources",
    "RunProgress",
    "RunStoppedError",
    "SilentReporter",
    "build",
    "encode_column",
    "estimate",
    "plan_corpus",
]
