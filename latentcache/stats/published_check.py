"""Measured statistics against the published normalizer: the cheapest alarm there is.

A wrong input range, checkpoint or packing moves the normalized latents away from mean 0 and
standard deviation 1 long before anybody looks at a picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentcache.stats.column import ColumnStatistics, FieldLatents
from latentcache.stats.moments import Floats

_SILENT_OPS = frozenset({"pack", "permute"})
"""They move values about; what comes after ``pack`` speaks of other channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedScores:
    """What normalized latents look like, per channel; 0 and 1 are as published.

    Attributes:
        mean: ``(mean_observed - mean_published) / std_published``.
        std_ratio: ``std_observed / std_published``, over the stored field.
        sampled_std_ratio: The same with E[sigma^2] in the observed variance; None without
            a posterior, and for patchified channels, whose E[sigma^2] is not kept.
        is_patchified: Channels are those after ``patchify``, in ``pixel_unshuffle`` order.
    """

    mean: Floats
    std_ratio: Floats
    sampled_std_ratio: Floats | None
    is_patchified: bool


def patch_size(ops: Sequence[Mapping[str, Any]]) -> int:
    """Return the patch edge whose packed channels the operations normalize, 1 if none."""
    affine = _affine(ops)
    return 1 if affine is None else affine.patch_size


def published_z_scores(
    statistics: ColumnStatistics, ops: Sequence[Mapping[str, Any]]
) -> PublishedScores | None:
    """Return the scores of the primary field under a normalizer.

    All latent frames are pooled, as normalization pools them.

    Args:
        statistics: Of the stored field, before normalization.
        ops: Operations as plain JSON: ``op``, ``values``, ``axis``, ``size``.

    Returns:
        None where per-channel statistics cannot say: no operations, values per position or
        latent frame, values after ``pack``, or packed channels that were not measured (a
        patch size other than the one that the unit's statistics were told).
    """
    field = statistics.primary
    affine = _affine(ops)
    if field is None or affine is None:
        return None
    return _scores(field, affine)


LOW_STD, HIGH_STD = 0.5, 2.0
"""Of latents normalized as published: outside, the figures are another model's."""


def typical_std(scores: PublishedScores) -> float:
    """Return the root mean square of the channels' standard deviations; 1 is as published."""
    spread = scores.std_ratio if scores.sampled_std_ratio is None else scores.sampled_std_ratio
    return float(np.sqrt(np.mean(spread**2)))


def fits_published(std: float) -> bool:
    """Return whether latents of that standard deviation, normalized as published, are expected."""
    return LOW_STD <= std <= HIGH_STD


def published_misfit(
    statistics: ColumnStatistics, ops: Sequence[Mapping[str, Any]], *, column: str
) -> str:
    """Return one warning where the published normalizer does not fit what was measured, else "".

    Args:
        statistics: Of the stored field, before normalization.
        ops: Operations as plain JSON.
        column: Its name, for the sentence.
    """
    scores = published_z_scores(statistics, ops)
    if scores is None:
        return ""
    std = typical_std(scores)
    if not np.isfinite(std) or fits_published(std):
        return ""
    return (
        f"column {column}: normalized as published, the latents' standard deviation is {std:.3g} "
        "where about 1 is expected; the figures are hardly of these weights: name the preset or "
        "correct the config.json that fits (nothing is encoded anew for it), or train with "
        'normalize="measured"'
    )


@dataclass(frozen=True, slots=True)
class _Affine:
    """``y = scale * x + shift`` per channel, after patchifying by ``patch_size``."""

    scale: Floats
    shift: Floats
    patch_size: int


def _affine(ops: Sequence[Mapping[str, Any]]) -> _Affine | None:
    scale, shift = np.ones(1), np.zeros(1)
    edge, channels_edge, is_packed, is_arithmetic = 1, 1, False, False
    is_reordered = False
    for op in ops:
        name = op["op"]
        if name == "patchify":
            edge *= int(op["size"])
            is_reordered |= op.get("axes") == "HWC"
        is_packed |= name == "pack"
        if name == "patchify" or name in _SILENT_OPS:
            continue
        values = np.asarray(op.get("values", ()), dtype=np.float64)
        if values.size > 1 and is_reordered:
            # Measured in the order of pixel_unshuffle: channel, then place in the patch.
            values = values.reshape(edge**2, -1).T.ravel()
        if values.size != 1 and (is_packed or op.get("axis", "C") != "C"):
            return None
        if values.size != 1:
            # Figures given before and after patchify would speak of two sets of channels.
            if scale.size > 1 and channels_edge != edge:
                return None
            channels_edge = edge
        scale, shift = _compose(name, values, scale, shift)
        is_arithmetic = True
    return _Affine(scale, shift, channels_edge) if is_arithmetic else None


def _compose(name: str, values: Floats, scale: Floats, shift: Floats) -> tuple[Floats, Floats]:
    if name == "subtract":
        return scale + 0.0 * values, shift - values
    if name == "add":
        return scale + 0.0 * values, shift + values
    if name == "divide":
        return scale / values, shift / values
    if name == "multiply":
        return scale * values, shift * values
    raise ValueError(f"op must be one of the normalizer's, got {name!r}; upgrade latentcache")


def _scores(field: FieldLatents, affine: _Affine) -> PublishedScores | None:
    pooled = field.pooled
    is_patchified = affine.patch_size > 1
    moments = pooled.packed if is_patchified else pooled.moments
    if moments is None or affine.scale.size not in (1, moments.mean.size):
        return None
    magnitude = np.abs(affine.scale)
    sampled = None
    if pooled.posterior is not None and not is_patchified:
        sampled = magnitude * np.sqrt(pooled.latent_variance(is_sampled=field.is_sampled))
    return PublishedScores(
        mean=affine.scale * moments.mean + affine.shift,
        std_ratio=magnitude * moments.std,
        sampled_std_ratio=sampled,
        is_patchified=is_patchified,
    )
