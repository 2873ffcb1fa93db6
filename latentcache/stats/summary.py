"""Statistics as plain JSON: what ``latentcache stats --json`` prints."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentcache.stats.codes import CodeUsage
from latentcache.stats.column import ColumnStatistics, FieldCodes, FieldLatents
from latentcache.stats.covariance import participation_ratio
from latentcache.stats.histogram import Histogram
from latentcache.stats.latents import LatentStatistics
from latentcache.stats.published_check import published_z_scores

Json = dict[str, Any]


def as_json(
    columns: Mapping[str, ColumnStatistics],
    normalizers: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    codebook_sizes: Mapping[str, int | None] | None = None,
) -> Json:
    """Return a summary per column; numbers are per channel unless said otherwise.

    A column speaks of its stored ``mean``, ``z`` or ``sample``, before normalization.
    ``count`` is the number of finite values per channel (of the channel that has fewest),
    ``std`` the population's, ``kl_nats_per_latent_frame`` a mean over latent frames of the
    sum over channels, height and width. ``classes`` has the first latent frame and the
    rest apart. What is not known is null, and JSON's missing NaN is null too.

    Args:
        columns: Statistics by column name.
        normalizers: Published operations by column name, as plain JSON.
        codebook_sizes: Entries of a column's codebook; ``dead`` of each is null without.
    """
    ops, sizes = normalizers or {}, codebook_sizes or {}
    return {
        name: _column(stats, ops.get(name, ()), sizes.get(name)) for name, stats in columns.items()
    }


def _column(
    statistics: ColumnStatistics, ops: Sequence[Mapping[str, Any]], codebook_size: int | None
) -> Json:
    primary = statistics.primary
    others = [field for field in statistics.latents.values() if field is not primary]
    summary: Json = {}
    if primary is not None:
        summary = _latents(primary) | {"published_z": _published(statistics, ops)}
    elif statistics.codes:
        first, *rest = statistics.codes.values()
        others_of = {field.name: _codes(field, codebook_size) for field in rest}
        return _codes(first, codebook_size) | _others(others_of)
    else:
        summary = {"count": 0, "samples": 0}
    extra = {field.name: _latents(field) for field in others}
    extra |= {field.name: _codes(field, codebook_size) for field in statistics.codes.values()}
    return summary | _others(extra)


def _others(fields: Json) -> Json:
    return {"other_fields": fields} if fields else {}


def _latents(field: FieldLatents) -> Json:
    pooled = field.pooled
    eigenvalues = None if pooled.covariance is None else pooled.covariance.eigenvalues()
    return {
        "field": field.name,
        **_class(pooled, is_sampled=field.is_sampled),
        "kl_nats_per_pixel": _number(pooled.kl_nats_per_pixel),
        "classes": {
            name: _class(part, is_sampled=field.is_sampled) for name, part in field.classes.items()
        },
        "histogram": _histogram(pooled.histogram, pooled.moments.mean.size),
        "covariance_eigenvalues": _numbers(eigenvalues),
        "participation_ratio": None
        if eigenvalues is None
        else _number(participation_ratio(eigenvalues)),
    }


def _class(part: LatentStatistics, *, is_sampled: bool) -> Json:
    moments = part.moments
    return {
        "count": int(moments.count.min(initial=np.iinfo(np.int64).max)),
        "samples": part.num_samples,
        "latent_frames": part.num_frames,
        "mean": _numbers(np.where(moments.count > 0, moments.mean, np.nan)),
        "std": _numbers(moments.std),
        "min": _numbers(moments.minimum),
        "max": _numbers(moments.maximum),
        "non_finite": moments.num_nonfinite.tolist(),
        "posterior_variance": _numbers(part.posterior_variance),
        "noise_fraction": _numbers(part.noise_fraction(is_sampled=is_sampled)),
        "kl_nats_per_latent_frame": _number(part.kl_nats_per_frame),
    }


def _histogram(histogram: Histogram, num_channels: int) -> list[Json]:
    channels = []
    for index in range(num_channels):
        low, high, count = histogram.channel(index)
        channels.append({"low": low.tolist(), "high": high.tolist(), "count": count.tolist()})
    return channels


def _published(statistics: ColumnStatistics, ops: Sequence[Mapping[str, Any]]) -> Json | None:
    scores = published_z_scores(statistics, ops)
    if scores is None:
        return None
    return {
        "mean": _numbers(scores.mean),
        "std_ratio": _numbers(scores.std_ratio),
        "sampled_std_ratio": _numbers(scores.sampled_std_ratio),
        "channels": "patchified" if scores.is_patchified else "stored",
    }


def _codes(field: FieldCodes, size: int | None) -> Json:
    return {
        "field": field.name,
        **_usage(field.pooled, size),
        "classes": {name: _usage(part, size) for name, part in field.classes.items()},
    }


def _usage(usage: CodeUsage, size: int | None) -> Json:
    books = []
    for book in range(usage.num_books):
        is_book = usage.book == book
        entropy = usage.entropy_nats(book)
        books.append(
            {
                "count": int(usage.count[is_book].sum()),
                "used": int(is_book.sum()),
                "dead": None if size is None else size - int(is_book.sum()),
                "min": int(usage.code[is_book].min()),
                "max": int(usage.code[is_book].max()),
                "entropy_nats": _number(entropy),
                "perplexity": _number(math.exp(entropy)),
            }
        )
    return {"count": int(usage.count.sum()), "samples": usage.num_samples, "codebooks": books}


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _numbers(values: NDArray[np.float64] | None) -> list[float | None] | None:
    return None if values is None else [_number(value) for value in values.tolist()]
