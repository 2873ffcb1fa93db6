"""What a Gaussian posterior N(mu, sigma^2) says: its variance, and its KL to N(0, 1).

Dimension letters: N rows, C channels (1 where all share one log-variance), P positions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentcache.stats.moments import Arrays, Counts, Floats, divide, require_equal_shapes

LOGVAR_RANGE = (-30.0, 20.0)
"""Diffusers clamps every log-variance to this before it samples (DiagonalGaussianDistribution)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PosteriorSums:
    """Sums over elements whose mean and log-variance are both finite.

    The KL of one element is ``(mu^2 + sigma^2 - 1 - log sigma^2) / 2`` nats (Kingma and
    Welling, "Auto-Encoding Variational Bayes", appendix B).

    Attributes:
        count: Elements, int64 (C).
        variance_sum: Sum of sigma^2 (C).
        kl_sum: Sum of the KL, in nats (C).
    """

    count: Counts
    variance_sum: Floats
    kl_sum: Floats

    @property
    def variance(self) -> Floats:
        """E[sigma^2] (C); NaN without elements."""
        return divide(self.variance_sum, self.count)

    @property
    def kl_nats(self) -> float:
        """The KL of everything counted, over all channels."""
        return float(self.kl_sum.sum())

    def merge(self, other: "PosteriorSums") -> "PosteriorSums":
        """Return the sums of both."""
        require_equal_shapes("channels", self.kl_sum, other.kl_sum)
        return PosteriorSums(
            count=self.count + other.count,
            variance_sum=self.variance_sum + other.variance_sum,
            kl_sum=self.kl_sum + other.kl_sum,
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the three arrays by name."""
        return {
            "posterior_count": self.count,
            "posterior_variance_sum": self.variance_sum,
            "posterior_kl_sum": self.kl_sum,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "PosteriorSums":
        """Return what ``arrays`` wrote."""
        return cls(
            count=arrays["posterior_count"].astype(np.int64),
            variance_sum=arrays["posterior_variance_sum"].astype(np.float64),
            kl_sum=arrays["posterior_kl_sum"].astype(np.float64),
        )


class PosteriorReducer:
    """Sums one batch after the other in a reused float64 buffer."""

    def __init__(self) -> None:
        self._buffer = np.empty(0)

    def reduce(
        self, mean_NCP: NDArray[np.float32], logvar_NCP: NDArray[np.float32], squares: Floats | None
    ) -> PosteriorSums:
        """Return the sums of one batch.

        Args:
            mean_NCP: Posterior means.
            logvar_NCP: Log-variances, C or 1 channels.
            squares: Sums of the squared means (C) if already known, which also says that
                all of them are finite.
        """
        lowest, highest = logvar_NCP.min(), logvar_NCP.max()
        if squares is None or not np.isfinite(lowest) or not np.isfinite(highest):
            return _reduce_finite(mean_NCP, logvar_NCP)
        if self._buffer.size < logvar_NCP.size:
            self._buffer = np.empty(logvar_NCP.size)
        work = self._buffer[: logvar_NCP.size].reshape(logvar_NCP.shape)
        np.copyto(work, logvar_NCP)
        if lowest < LOGVAR_RANGE[0] or highest > LOGVAR_RANGE[1]:
            np.clip(work, *LOGVAR_RANGE, out=work)
        logvar_sum = work.sum(axis=(0, 2))
        variance_sum = np.exp(work, out=work).sum(axis=(0, 2))
        count = mean_NCP.shape[0] * mean_NCP.shape[2]
        return PosteriorSums(
            count=np.full(squares.shape, count, dtype=np.int64),
            variance_sum=np.broadcast_to(variance_sum, squares.shape).copy(),
            kl_sum=0.5 * (squares + variance_sum - count - logvar_sum),
        )


def _reduce_finite(mean_NCP: NDArray[np.float32], logvar_NCP: NDArray[np.float32]) -> PosteriorSums:
    logvar = np.broadcast_to(logvar_NCP, mean_NCP.shape)
    is_finite = np.isfinite(mean_NCP) & np.isfinite(logvar)
    mean = np.where(is_finite, mean_NCP, 0.0).astype(np.float64)
    # Where either is missing the element becomes N(0, 1), whose KL is exactly 0.
    clamped = np.clip(np.where(is_finite, logvar, 0.0).astype(np.float64), *LOGVAR_RANGE)
    variance = np.exp(clamped)
    return PosteriorSums(
        count=is_finite.sum(axis=(0, 2), dtype=np.int64),
        variance_sum=np.where(is_finite, variance, 0.0).sum(axis=(0, 2)),
        kl_sum=0.5 * (mean * mean + variance - 1.0 - clamped).sum(axis=(0, 2)),
    )
