"""Intervals: what a figure would be on other samples of the same corpus, by the bootstrap.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993: samples are drawn again with
replacement, the figure is taken of each draw, and the middle 95 % of them is its interval. Two
spaces are compared on the same draws where both have seen the same samples: what they share then
cancels, and a difference is told that two separate intervals would hide.

Dimension letters: N samples, D draws, K values of a sample.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
OfMean = Callable[[Floats], Floats]
"""From means of the samples' values [D, K] to a figure each [D]."""

NUM_DRAWS = 1000
LEVEL = 0.95
_VALUES_AT_ONCE = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: Of all samples.
        low: Lower end of the interval; NaN of fewer than two samples.
        high: Upper end.
        num_samples: That it is of.
    """

    value: float
    low: float
    high: float
    num_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much more the second of two spaces has than the first.

    Attributes:
        value: Second minus first.
        low: Lower end of the interval; NaN of fewer than two samples.
        high: Upper end.
        num_samples: That both have, or of independent figures the smaller number.
    """

    value: float
    low: float
    high: float
    num_samples: int

    @property
    def verdict(self) -> str:
        """``equal`` where the interval holds 0, ``lower``, ``higher``, or ``unknown``."""
        if not (np.isfinite(self.low) and np.isfinite(self.high)):
            return "unknown"
        if self.low <= 0 <= self.high:
            return "equal"
        return "higher" if self.low > 0 else "lower"


def mean_itself(means_DK: Floats) -> Floats:
    """Return the mean of a figure that is one value a sample."""
    return means_DK[:, 0]


def estimate(values: Floats, of_mean: OfMean = mean_itself, *, seed: int = 0) -> Estimate:
    """Return a figure of samples with its interval.

    Args:
        values: [N] or [N, ...]; samples with a value that is not finite are left out.
        of_mean: The figure, from the mean of the samples' values.
        seed: Of the draws.
    """
    rows = flat_rows(values)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not len(rows):
        return Estimate(value=np.nan, low=np.nan, high=np.nan, num_samples=0)
    value = float(of_mean(rows.mean(axis=0)[None])[0])
    low, high = _ends(_drawn(rows, of_mean, seed))
    # Draws of what cannot be negative, as a root mean square of means near 0, all lie above it.
    low, high = float(np.minimum(low, value)), float(np.maximum(high, value))
    return Estimate(value=value, low=low, high=high, num_samples=len(rows))


def difference(
    first: Floats,
    second: Floats,
    of_mean: OfMean = mean_itself,
    *,
    is_paired: bool = True,
    seed: int = 0,
) -> Difference:
    """Return how much more ``second`` has than ``first``.

    Args:
        first: As for ``estimate``; if paired, row for row of the same samples.
        second: Likewise; K may be another, as channels are.
        of_mean: The figure.
        is_paired: Draw the same samples of both; those that one lacks are left out.
        seed: Of the draws.
    """
    ours, theirs = flat_rows(first), flat_rows(second)
    has_ours, has_theirs = (np.isfinite(rows).all(axis=1) for rows in (ours, theirs))
    if is_paired:
        has_ours = has_theirs = has_ours & has_theirs
    ours, theirs = ours[has_ours], theirs[has_theirs]
    count = min(len(ours), len(theirs))
    if not count:
        return Difference(value=np.nan, low=np.nan, high=np.nan, num_samples=0)
    value = float(of_mean(theirs.mean(axis=0)[None])[0] - of_mean(ours.mean(axis=0)[None])[0])
    drawn = _drawn(theirs, of_mean, seed) - _drawn(ours, of_mean, seed if is_paired else seed + 1)
    # Centred: what is biased, as a root mean square of means near 0, is it by other amounts in two
    # spaces, and draws of their difference lie beside the difference.
    if np.isfinite(drawn).any():
        drawn = drawn - np.nanmean(drawn) + value
    low, high = _ends(drawn)
    return Difference(value=value, low=low, high=high, num_samples=count)


def flat_rows(values: Floats) -> Floats:
    """Return values as [N, K]."""
    return values.reshape(len(values), math.prod(values.shape[1:])).astype(np.float64)


def _drawn(rows: Floats, of_mean: OfMean, seed: int) -> Floats:
    """Return the figure of each draw [D]; of fewer than two samples there is none."""
    count = len(rows)
    if count < 2:
        return np.full(NUM_DRAWS, np.nan)
    generator = np.random.default_rng(seed)
    weights_DN = generator.multinomial(count, np.full(count, 1 / count), size=NUM_DRAWS) / count
    step = max(1, _VALUES_AT_ONCE // rows.shape[1])
    parts = [
        of_mean(weights_DN[start : start + step] @ rows) for start in range(0, NUM_DRAWS, step)
    ]
    return np.concatenate(parts)


def _ends(drawn: Floats) -> tuple[float, float]:
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return np.nan, np.nan
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(finite, (tail, 1 - tail))
    return float(low), float(high)
