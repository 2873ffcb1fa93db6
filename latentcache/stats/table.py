"""Statistics as rows of text, for a table that a person reads."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from latentcache.stats.codes import CodeUsage
from latentcache.stats.column import ColumnStatistics, FieldLatents
from latentcache.stats.covariance import participation_ratio
from latentcache.stats.latents import LatentStatistics
from latentcache.stats.moments import Floats
from latentcache.stats.published_check import PublishedScores, published_z_scores

TABLE_HEADER = (
    "frames",
    "channel",
    "count",
    "mean",
    "std",
    "min",
    "max",
    "non-finite",
    "E[sigma^2]",
    "noise",
    "z mean",
    "z std",
)
CODES_HEADER = (
    *("field", "frames", "codebook", "count", "used", "dead", "entropy, nats", "perplexity"),
)
ABSENT = "-"


def table_rows(
    statistics: ColumnStatistics, ops: Sequence[Mapping[str, Any]] = ()
) -> list[tuple[str, ...]]:
    """Return a row per channel, all latent frames first and then each class if there are two.

    The columns are ``TABLE_HEADER``; a dash means not known. ``z`` columns are there for all
    frames together, and only where the normalizer speaks of stored channels.
    """
    field = statistics.primary
    if field is None:
        return []
    scores = published_z_scores(statistics, ops)
    if scores is not None and scores.is_patchified:
        scores = None
    rows = _rows("all", field.pooled, field, scores)
    if len(field.classes) > 1:
        for name, part in field.classes.items():
            rows += _rows(name, part, field, None)
    return rows


def codes_rows(
    statistics: ColumnStatistics, codebook_size: int | None = None
) -> list[tuple[str, ...]]:
    """Return a row per code field, class and codebook, under ``CODES_HEADER``.

    Args:
        statistics: Of a column.
        codebook_size: Entries of each codebook, where its encoder declares them; without, no code
            is known to be dead.
    """
    rows: list[tuple[str, ...]] = []
    for field in statistics.codes.values():
        views: list[tuple[str, CodeUsage]] = [("all", field.pooled)]
        if len(field.classes) > 1:
            views += field.classes.items()
        for frames, usage in views:
            for book in range(usage.num_books):
                count = usage.count[usage.book == book]
                entropy = usage.entropy_nats(book)
                dead = ABSENT if codebook_size is None else str(codebook_size - count.size)
                numbers = (str(count.sum()), str(count.size), dead, _text(entropy))
                perplexity = _text(math.exp(entropy))
                rows.append((field.name, frames, str(book), *numbers, perplexity))
    return rows


def summary_rows(
    statistics: ColumnStatistics, ops: Sequence[Mapping[str, Any]] = ()
) -> list[tuple[str, str]]:
    """Return (name, value) pairs of what is one number for the column."""
    field = statistics.primary
    if field is None:
        return []
    pooled = field.pooled
    rows = [
        ("field", field.name),
        ("samples", str(pooled.num_samples)),
        ("latent frames", str(pooled.num_frames)),
        ("non-finite values", str(int(pooled.moments.num_nonfinite.sum()))),
    ]
    views: list[tuple[str, LatentStatistics]] = [("all", pooled)]
    if len(field.classes) > 1:
        views += field.classes.items()
    for name, part in views:
        if part.kl_nats_per_frame is not None:
            rows.append((f"KL per latent frame, nats ({name})", _text(part.kl_nats_per_frame)))
    if pooled.kl_nats_per_pixel is not None:
        rows.append(("KL per pixel, nats", _text(pooled.kl_nats_per_pixel)))
    if pooled.covariance is not None:
        ratio = participation_ratio(pooled.covariance.eigenvalues())
        rows.append(("participation ratio", f"{_text(ratio)} of {pooled.moments.mean.size}"))
    for grid, each in sorted(pooled.positions.items()):
        told = f"{'x'.join(map(str, grid))}, over {int(each.count[0])} samples"
        rows.append(("mean and std per position", told))
    return rows + _worst_scores(published_z_scores(statistics, ops))


def _worst_scores(scores: PublishedScores | None) -> list[tuple[str, str]]:
    if scores is None:
        return []
    ratios = scores.std_ratio
    return [
        ("published: largest |z| of a mean", _text(float(abs(scores.mean).max()))),
        ("published: std ratio", f"{_text(float(ratios.min()))} to {_text(float(ratios.max()))}"),
    ]


def _rows(
    frames: str, part: LatentStatistics, field: FieldLatents, scores: PublishedScores | None
) -> list[tuple[str, ...]]:
    moments = part.moments
    columns: list[Floats | None] = [
        part.posterior_variance,
        part.noise_fraction(is_sampled=field.is_sampled),
        None if scores is None else scores.mean,
        None if scores is None else scores.std_ratio,
    ]
    rows = []
    for index in range(moments.mean.size):
        values = (moments.mean, moments.std, moments.minimum, moments.maximum)
        rows.append(
            (
                frames,
                str(index),
                str(moments.count[index]),
                *(_text(float(array[index])) for array in values),
                str(moments.num_nonfinite[index]),
                *(ABSENT if array is None else _text(float(array[index])) for array in columns),
            )
        )
    return rows


def _text(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else ABSENT
