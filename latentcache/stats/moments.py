"""Moments: count, mean and sum of squared deviations per channel, merged exactly.

Dimension letters: B batch, C channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Arrays = Mapping[str, NDArray[np.generic]]
"""Statistics as they lie in a file: plain arrays by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Moments of the finite values of each channel, in float64.

    Attributes:
        count: Finite values, int64 (C).
        mean: Their mean (C); 0 where there are none.
        m2: Sum of squared deviations from the mean (C).
        minimum: Smallest value (C); +inf where there are none.
        maximum: Largest value (C); -inf where there are none.
        num_nonfinite: NaN and infinities, left out of all the above, int64 (C).
    """

    count: Counts
    mean: Floats
    m2: Floats
    minimum: Floats
    maximum: Floats
    num_nonfinite: Counts

    @classmethod
    def from_values(cls, values: NDArray[np.generic]) -> "Moments":
        """Return the moments of one array in two passes, whatever its memory layout.

        Args:
            values: Real values (B, C, ...).
        """
        channels = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
        channels = np.ascontiguousarray(channels, dtype=np.float64)
        is_finite = np.isfinite(channels)
        count = is_finite.sum(axis=1, dtype=np.int64)
        divisor = np.maximum(count, 1)
        mean = np.where(is_finite, channels, 0.0).sum(axis=1) / divisor
        deviations = np.where(is_finite, channels, mean[:, None]) - mean[:, None]
        # The mean is rounded; what its rounding adds to the squares is taken off again.
        rounding = deviations.sum(axis=1) ** 2 / divisor
        return cls(
            count=count,
            mean=mean,
            m2=np.maximum(np.square(deviations).sum(axis=1) - rounding, 0.0),
            minimum=np.where(is_finite, channels, np.inf).min(axis=1, initial=np.inf),
            maximum=np.where(is_finite, channels, -np.inf).max(axis=1, initial=-np.inf),
            num_nonfinite=channels.shape[1] - count,
        )

    @property
    def variance(self) -> Floats:
        """Population variance, m2 / count; NaN where there are no values."""
        return divide(self.m2, self.count)

    @property
    def std(self) -> Floats:
        """Square root of ``variance``."""
        return np.sqrt(self.variance)

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of values together.

        Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
        computing sample variances" (1979): with ``d = mB - mA`` the mean is
        ``mA + d nB / n`` and the squares ``M2A + M2B + d^2 nA nB / n``.
        """
        require_equal_shapes("channels", self.mean, other.mean)
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        delta = other.mean - self.mean
        # A channel without values must not move the other side by a rounding error.
        is_first_empty = self.count == 0
        return Moments(
            count=count,
            mean=np.where(is_first_empty, other.mean, self.mean + delta * share),
            m2=self.m2 + other.m2 + delta * delta * (self.count * share),
            minimum=np.minimum(self.minimum, other.minimum),
            maximum=np.maximum(self.maximum, other.maximum),
            num_nonfinite=self.num_nonfinite + other.num_nonfinite,
        )

    def arrays(self, prefix: str = "") -> dict[str, NDArray[np.generic]]:
        """Return the six arrays by name."""
        return {
            f"{prefix}count": self.count,
            f"{prefix}mean": self.mean,
            f"{prefix}m2": self.m2,
            f"{prefix}min": self.minimum,
            f"{prefix}max": self.maximum,
            f"{prefix}non_finite": self.num_nonfinite,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, prefix: str = "") -> "Moments":
        """Return what ``arrays`` wrote."""
        return cls(
            count=arrays[f"{prefix}count"].astype(np.int64),
            mean=arrays[f"{prefix}mean"].astype(np.float64),
            m2=arrays[f"{prefix}m2"].astype(np.float64),
            minimum=arrays[f"{prefix}min"].astype(np.float64),
            maximum=arrays[f"{prefix}max"].astype(np.float64),
            num_nonfinite=arrays[f"{prefix}non_finite"].astype(np.int64),
        )


def divide(numerator: Floats, denominator: NDArray[np.generic]) -> Floats:
    """Return the quotient, NaN (without a warning) where the denominator is 0."""
    nothing = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=nothing, where=denominator != 0)
    return nothing


def require_equal_shapes(name: str, ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> None:
    """Refuse to merge statistics of fields that are not alike.

    Raises:
        ValueError: The shapes differ.
    """
    if ours.shape != theirs.shape:
        raise ValueError(
            f"{name} must be alike to be merged, got {ours.shape} and {theirs.shape}; "
            "merge statistics of one encoding only"
        )
