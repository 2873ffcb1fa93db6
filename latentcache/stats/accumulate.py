"""One float field and class of latent frames, accumulated batch by batch.

A finite batch takes the fast path; one NaN sends its batch through the plain formulas.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latentcache.stats.batch_moments import BatchReducer
from latentcache.stats.channel_axis import as_rows
from latentcache.stats.covariance import Comoments
from latentcache.stats.histogram import HistogramCounter
from latentcache.stats.latents import LatentStatistics, merge_present
from latentcache.stats.moments import Floats, Moments
from latentcache.stats.positions import Grid, PositionMoments, merge_positions
from latentcache.stats.posterior_moments import PosteriorReducer, PosteriorSums


class LatentAccumulator:
    """Accumulates batches of one float field and class.

    Args:
        num_channels: C.
        patch_size: Edge of the patches whose packed channels get moments of their own.
        pixels_per_sample: Counted with each sample; 0 where another class counts them.
        has_covariance: Whether to keep comoments.
        has_positions: Whether to keep moments per position.
    """

    def __init__(
        self,
        num_channels: int,
        *,
        patch_size: int,
        pixels_per_sample: int,
        has_covariance: bool,
        has_positions: bool = False,
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
        self._has_positions = has_positions
        self._positions: dict[Grid, PositionMoments] = {}
        self._posterior: PosteriorSums | None = None
        self._last_rows: NDArray[np.float32] = np.empty((0, 0, 0), dtype=np.float32)
        self._last_squares: Floats | None = None

    def add(
        self, values: NDArray[np.generic], num_frames: int, *, num_samples: int | None = None
    ) -> None:
        """Add one batch (B, C, ...), not empty.

        Args:
            values: The batch.
            num_frames: Latent frames in it.
            num_samples: Samples that were not counted before; default: all of it.
        """
        self._num_samples += values.shape[0] if num_samples is None else num_samples
        self._num_frames += num_frames
        if self._has_positions:
            each = {values.shape[2:]: PositionMoments.from_values(values)}
            self._positions = merge_positions(self._positions, each)
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
        self,
        logvar: NDArray[np.generic],
        posterior_mean: NDArray[np.generic] | None,
        *,
        is_drawn: bool,
    ) -> None:
        """Add the posterior of the batch just added.

        Args:
            logvar: Log-variances (B, C or 1, ...).
            posterior_mean: Means (B, C, ...); default: the batch just added.
            is_drawn: The batch just added holds draws, which stand in for their means.
        """
        rows, squares = self._last_rows, self._last_squares
        if posterior_mean is not None:
            rows, squares = as_rows(posterior_mean, patch_size=self._patch_size), None
        sums = self._posterior_reducer.reduce(
            rows, as_rows(logvar, patch_size=self._patch_size), squares
        )
        if is_drawn:
            # The square of a draw has the posterior's variance in it already.
            sums = replace(sums, kl_sum=sums.kl_sum - 0.5 * sums.variance_sum)
        self._posterior = merge_present(self._posterior, sums)

    def result(self) -> LatentStatistics:
        """Return the statistics of all batches."""
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
            positions=self._positions,
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
