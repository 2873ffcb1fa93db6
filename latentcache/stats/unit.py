"""Statistics of one unit, accumulated batch by batch in row order.

Same batches in the same order give the same bytes, whatever the arrays' memory layout and
the number of BLAS threads; only ``exp`` in the posterior sums is the CPU's own.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from latentcache.core.fields import STATISTICS_FIELDS, Field
from latentcache.stats.batch import BatchReducer
from latentcache.stats.codes import CodeUsage
from latentcache.stats.covariance import MAX_COVARIANCE_CHANNELS, Comoments
from latentcache.stats.histogram import HistogramCounter
from latentcache.stats.latents import LatentStatistics, merge_present
from latentcache.stats.layout import (
    FRAME_CLASSES,
    FrameClass,
    as_rows,
    num_latent_frames,
    split_frames,
)
from latentcache.stats.moments import Floats, Moments
from latentcache.stats.posterior import PosteriorReducer, PosteriorSums

_SKIPPED_KINDS = frozenset({"logvar", "std"})
"""The spread of a posterior is reported as such, beside its mean."""


class UnitStatistics:
    """Accumulates the statistics of one unit.

    Args:
        fields: Stored fields.
        posterior: Kind of posterior, as in the encoder's spec; only the ``gaussian`` ones
            take a log-variance.
        patch_size: Edge of the patch that the published normaliser packs into channels
            (2 for FLUX.2), 1 without; adds moments per packed channel.
        pixels_per_sample: T * H * W of the unit's bucket, for KL per pixel; 0 = leave out.
        max_covariance_channels: Wider fields keep no channel covariance.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        posterior: str,
        *,
        patch_size: int = 1,
        pixels_per_sample: int = 0,
        max_covariance_channels: int = MAX_COVARIANCE_CHANNELS,
    ) -> None:
        self._fields = [field for field in fields if field.kind not in _SKIPPED_KINDS]
        self._primary = primary_field([field.name for field in self._fields])
        self._logvar = next((field for field in fields if field.kind == "logvar"), None)
        self._has_posterior = posterior.startswith("gaussian")
        self._patch_size = patch_size
        self._pixels_per_sample = pixels_per_sample
        self._max_covariance_channels = max_covariance_channels
        self._latents: dict[tuple[str, FrameClass], _LatentAccumulator] = {}
        self._codes: dict[tuple[str, FrameClass], CodeUsage] = {}

    def add(
        self,
        stored: Mapping[str, NDArray[np.generic]],
        posterior_logvar: NDArray[np.float32] | None = None,
        posterior_mean: NDArray[np.float32] | None = None,
    ) -> None:
        """Add the kept rows of one batch.

        Args:
            stored: Fields (B, *axes) as stored, rounded to the storage dtype, in float32.
            posterior_logvar: Log-variance with the primary field's axes, C of size 1 where
                it is shared. Default: the stored ``logvar``, if there is one.
            posterior_mean: Posterior mean where the stored field is a draw, without which
                a draw's KL is not counted.
        """
        if posterior_logvar is None and self._has_posterior and self._logvar is not None:
            posterior_logvar = stored[self._logvar.name].astype(np.float32, copy=False)
        for field in self._fields:
            frames = split_frames(stored[field.name], field)
            if len(stored[field.name]) == 0:
                continue
            if field.kind == "indices":
                self._add_codes(field, frames)
                continue
            is_primary = field.name == self._primary and self._has_posterior
            logvar = posterior_logvar if is_primary else None
            logvars = {} if logvar is None else split_frames(logvar, field)
            means = {} if posterior_mean is None else split_frames(posterior_mean, field)
            for name, values in frames.items():
                accumulator = self._accumulator(field, name, values.shape[1])
                accumulator.add(values, num_latent_frames(values, field))
                if name in logvars and (field.kind != "sample" or name in means):
                    accumulator.add_posterior(logvars[name], means.get(name))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return ``stats.<field>.<class>.<name>`` arrays; nothing for what was never seen."""
        arrays: dict[str, NDArray[np.generic]] = {}
        for field in self._fields:
            for name in FRAME_CLASSES:
                key = (field.name, name)
                part: LatentStatistics | CodeUsage | None = self._codes.get(key)
                if key in self._latents:
                    part = self._latents[key].result()
                if part is not None:
                    prefix = f"stats.{field.name}.{name}."
                    arrays |= {prefix + item: array for item, array in part.arrays().items()}
        return arrays

    def _add_codes(self, field: Field, frames: Mapping[FrameClass, NDArray[np.generic]]) -> None:
        for name, codes in frames.items():
            usage = CodeUsage.from_indices(codes, num_samples=codes.shape[0])
            known = self._codes.get((field.name, name))
            self._codes[field.name, name] = usage if known is None else known.merge(usage)

    def _accumulator(
        self, field: Field, name: FrameClass, num_channels: int
    ) -> "_LatentAccumulator":
        key = (field.name, name)
        if key not in self._latents:
            is_primary = field.name == self._primary
            self._latents[key] = _LatentAccumulator(
                num_channels,
                patch_size=self._patch_size if is_primary else 1,
                pixels_per_sample=self._pixels_per_sample if name == "first" else 0,
                has_covariance=num_channels <= self._max_covariance_channels,
            )
        return self._latents[key]


class _LatentAccumulator:
    """One float field and class."""

    def __init__(
        self, num_channels: int, *, patch_size: int, pixels_per_sample: int, has_covariance: bool
    ) -> None:
        self._patch_size = patch_size
        self._pixels_per_sample = pixels_per_sample
        self._num_samples = 0
        self._num_frames = 0
        self._reducer = BatchReducer(
            num_channels, num_phases=patch_size**2, has_covariance=has_covariance
        )
        self._histogram = HistogramCounter(num_channels)
        self._posterior_reducer = PosteriorReducer()
        self._moments: Moments | None = None
        self._packed: Moments | None = None
        self._covariance: Comoments | None = None
        self._posterior: PosteriorSums | None = None
        self._last_rows: NDArray[np.float32] = np.empty((0, 0, 0), dtype=np.float32)
        self._last_squares: Floats | None = None

    def add(self, values: NDArray[np.generic], num_frames: int) -> None:
        self._num_samples += values.shape[0]
        self._num_frames += num_frames
        rows = as_rows(values, patch_size=self._patch_size)
        phases = rows.reshape(-1, self._patch_size**2, *rows.shape[1:])
        lowest, highest = phases.min(axis=(0, 3)), phases.max(axis=(0, 3))
        if np.isfinite(lowest).all() and np.isfinite(highest).all():
            self._histogram.add(rows)
            parts = self._reducer.reduce(rows, lowest, highest)
            self._last_squares = parts[0].m2 + parts[0].count * np.square(parts[0].mean)
        else:
            self._histogram.add_finite(rows)
            parts = self._reduce_finite(rows)
            self._last_squares = None
        self._last_rows = rows
        self._moments = merge_present(self._moments, parts[0])
        self._packed = merge_present(self._packed, parts[1])
        self._covariance = merge_present(self._covariance, parts[2])

    def add_posterior(
        self, logvar: NDArray[np.generic], posterior_mean: NDArray[np.generic] | None
    ) -> None:
        """Add the posterior of the batch just added."""
        rows, squares = self._last_rows, self._last_squares
        if posterior_mean is not None:
            rows, squares = as_rows(posterior_mean, patch_size=self._patch_size), None
        sums = self._posterior_reducer.reduce(
            rows, as_rows(logvar, patch_size=self._patch_size), squares
        )
        self._posterior = merge_present(self._posterior, sums)

    def result(self) -> LatentStatistics:
        assert self._moments is not None, "an accumulator is made for its first batch"
        return LatentStatistics(
            num_samples=self._num_samples,
            num_frames=self._num_frames,
            num_pixels=self._num_samples * self._pixels_per_sample,
            moments=self._moments,
            histogram=self._histogram.result(),
            covariance=self._covariance,
            packed=self._packed,
            posterior=self._posterior,
        )

    def _reduce_finite(
        self, rows: NDArray[np.float32]
    ) -> tuple[Moments, Moments | None, Comoments | None]:
        num_phases = self._patch_size**2
        packed = covariance = None
        if num_phases > 1:
            phases = rows.reshape(-1, num_phases, *rows.shape[1:]).swapaxes(1, 2)
            packed = Moments.from_values(
                phases.reshape(phases.shape[0], -1, rows.shape[2])  # (B, C * G, P)
            )
        if self._reducer.has_covariance:
            columns = rows.swapaxes(0, 1).reshape(rows.shape[1], -1)
            covariance = Comoments.from_values(columns[:, np.isfinite(columns).all(axis=0)])
        return Moments.from_values(rows), packed, covariance


def primary_field(names: Sequence[str]) -> str | None:
    """Return the field that statistics and normalisation speak of, or None without one."""
    return next((name for name in STATISTICS_FIELDS if name in names), None)
