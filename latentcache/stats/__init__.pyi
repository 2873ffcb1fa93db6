from .codes import CodeUsage as CodeUsage
from .column import ColumnStatistics as ColumnStatistics
from .column import FieldCodes as FieldCodes
from .column import FieldLatents as FieldLatents
from .column import merge_arrays as merge_arrays
from .covariance import Comoments as Comoments
from .covariance import participation_ratio as participation_ratio
from .histogram import Histogram as Histogram
from .latents import LatentStatistics as LatentStatistics
from .moments import Moments as Moments
from .posterior_moments import PosteriorSums as PosteriorSums
from .published_check import PublishedScores as PublishedScores
from .published_check import fits_published as fits_published
from .published_check import patch_size as patch_size
from .published_check import published_misfit as published_misfit
from .published_check import published_z_scores as published_z_scores
from .published_check import typical_std as typical_std
from .stored import count_stored as count_stored
from .stored import unit_statistics as unit_statistics
from .stored import with_posterior_share as with_posterior_share
from .summary import as_json as as_json
from .table import CODES_HEADER as CODES_HEADER
from .table import TABLE_HEADER as TABLE_HEADER
from .table import codes_rows as codes_rows
from .table import summary_rows as summary_rows
from .table import table_rows as table_rows
from .unit import UnitStatistics as UnitStatistics

__all__ = [
    "CODES_HEADER",
    "TABLE_HEADER",
    "CodeUsage",
    "ColumnStatistics",
    "Comoments",
    "FieldCodes",
    "FieldLatents",
    "Histogram",
    "LatentStatistics",
    "Moments",
    "PosteriorSums",
    "PublishedScores",
    "UnitStatistics",
    "as_json",
    "codes_rows",
    "count_stored",
    "merge_arrays",
    "participation_ratio",
    "patch_size",
    "published_misfit",
    "published_z_scores",
    "summary_rows",
    "table_rows",
]
