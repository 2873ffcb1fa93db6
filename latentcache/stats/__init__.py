"""Exact, mergeable statistics of stored latents; numpy only."""

from latentcache.stats.codes import CodeUsage
from latentcache.stats.column import (
    ColumnStatistics,
    FieldCodes,
    FieldLatents,
    merge_arrays,
)
from latentcache.stats.covariance import Comoments, participation_ratio
from latentcache.stats.histogram import Histogram
from latentcache.stats.latents import LatentStatistics
from latentcache.stats.moments import Moments
from latentcache.stats.posterior import PosteriorSums
from latentcache.stats.published import PublishedScores, patch_size, published_z_scores
from latentcache.stats.summary import as_json
from latentcache.stats.table import (
    CODES_HEADER,
    TABLE_HEADER,
    codes_rows,
    summary_rows,
    table_rows,
)
from latentcache.stats.unit import UnitStatistics

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
    "merge_arrays",
    "participation_ratio",
    "patch_size",
    "published_z_scores",
    "summary_rows",
    "table_rows",
]
