from .build_recipe import Recipe as Recipe
from .build_recipe import lay_over as lay_over
from .build_recipe import parse_setting as parse_setting
from .build_recipe import read_recipe as read_recipe
from .caching_pays import CachingCost as CachingCost
from .caching_pays import Prices as Prices
from .caching_pays import caching_cost as caching_cost
from .calibration import Calibration as Calibration
from .calibration import EncoderEstimate as EncoderEstimate
from .compacting import CompactResult as CompactResult
from .compacting import compact as compact
from .encode.result import EncodeResult as EncodeResult
from .encode_request import EncodeRequest as EncodeRequest
from .estimate_build import Estimate as Estimate
from .estimate_build import estimate as estimate
from .jobs import RunStoppedError as RunStoppedError
from .jobs import build as build
from .jobs import build_columns as build_columns
from .jobs import encode_column as encode_column
from .jobs import encode_columns as encode_columns
from .jobs import plan_corpus as plan_corpus
from .messages.run_times import RunTimes as RunTimes
from .plan_request import PlanRequest as PlanRequest
from .planning import PlanResult as PlanResult
from .ray_train import submitted_recipe as submitted_recipe
from .ray_train import train_on_cluster as train_on_cluster
from .retiring import RetireResult as RetireResult
from .retiring import retire_samples as retire_samples
from .run_options import EncodeOptions as EncodeOptions
from .run_options import Resources as Resources
from .run_progress import Reporter as Reporter
from .run_progress import RunProgress as RunProgress
from .run_progress import SilentReporter as SilentReporter
from .stale_rows import num_stale as num_stale
from .swapping import SwapEstimate as SwapEstimate
from .swapping import SwapResult as SwapResult
from .swapping import estimate_swap as estimate_swap
from .swapping import swap_column as swap_column

__all__ = [
    "CachingCost",
    "Calibration",
    "CompactResult",
    "EncodeOptions",
    "EncodeRequest",
    "EncodeResult",
    "EncoderEstimate",
    "Estimate",
    "PlanRequest",
    "PlanResult",
    "Prices",
    "Recipe",
    "Reporter",
    "Resources",
    "RetireResult",
    "RunProgress",
    "RunStoppedError",
    "RunTimes",
    "SilentReporter",
    "SwapEstimate",
    "SwapResult",
    "build",
    "build_columns",
    "caching_cost",
    "compact",
    "encode_column",
    "encode_columns",
    "estimate",
    "estimate_swap",
    "lay_over",
    "num_stale",
    "parse_setting",
    "plan_corpus",
    "read_recipe",
    "retire_samples",
    "submitted_recipe",
    "swap_column",
    "train_on_cluster",
]
