"""Channel covariance, with the same bits on any number of threads.

Dimension letters: C channels, D channels again, K columns of a block, N blocks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentcache.stats.moments import Arrays, Counts, Floats, require_equal_shapes

MAX_COVARIANCE_CHANNELS = 128
"""Wider fields keep no covariance unless asked: 768 channels take 4.7 MB a unit."""
MAX_FEATURE_CHANNELS = 1024
"""Of vision features, whose samples take that much themselves: a unit grows by some percent."""

BLOCK_COLUMNS = 256
ROW_MULTIPLE = 16
"""A BLAS may sum a product in any order it likes, and OpenBLAS's order depends on its CPU
kernel and could depend on its threads. Up to 256 columns and with whole groups of 16 rows
each element is one running sum in all of its AVX2 and AVX-512 kernels: SkylakeX, Cooperlake,
SapphireRapids, Haswell and Zen gave equal bits with 1, 2 and 4 threads (OpenBLAS 0.3 of numpy
2.4, 2026-11; 4 rows or 1024 columns did not). tests/stats/test_determinism.py repeats it."""

_BLOCKS_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Comoments:
    """Means and summed products of deviations, over positions finite in *every* channel.

    Attributes:
        count: Positions, int64 (1,).
        mean: (C).
        comoment: Sums of products of deviations (C, C), symmetric.
    """

    count: Counts
    mean: Floats
    comoment: Floats

    @classmethod
    def from_values(cls, values_CK: NDArray[np.generic]) -> "Comoments":
        """Return the comoments of finite values, one column per position."""
        num_channels, num_columns = values_CK.shape
        num_blocks = max(1, -(-num_columns // BLOCK_COLUMNS))
        width = -(-num_columns // num_blocks)
        values = np.ascontiguousarray(values_CK, dtype=np.float64)
        mean = values.sum(axis=1) / max(num_columns, 1)
        padded = np.zeros((num_blocks, round_up(num_channels, ROW_MULTIPLE), width))
        for block, start in zip(padded, range(0, num_columns, max(width, 1)), strict=False):
            part = values[:, start : start + width]
            block[:num_channels, : part.shape[1]] = part - mean[:, None]
        return cls(
            count=np.array([num_columns], dtype=np.int64),
            mean=mean,
            comoment=gram(padded)[:num_channels, :num_channels].copy(),
        )

    def matrix(self) -> Floats:
        """Return the population covariance (C, C); NaN without positions."""
        if self.count[0] == 0:
            return np.full_like(self.comoment, np.nan)
        covariance: Floats = self.comoment / self.count[0]
        return covariance

    def eigenvalues(self) -> Floats:
        """Return the covariance's eigenvalues, largest first (C)."""
        if self.count[0] == 0:
            return np.full_like(self.mean, np.nan)
        ascending: Floats = np.linalg.eigvalsh(self.matrix()).astype(np.float64)
        return ascending[::-1].copy()

    def merge(self, other: "Comoments") -> "Comoments":
        """Return the comoments of both sets of positions (Chan's formula, for products)."""
        require_equal_shapes("channels", self.mean, other.mean)
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        delta = other.mean - self.mean
        return Comoments(
            count=count,
            mean=np.where(self.count == 0, other.mean, self.mean + delta * share),
            comoment=self.comoment
            + other.comoment
            + np.multiply.outer(delta, delta) * (self.count * share),
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the three arrays by name."""
        return {
            "covariance_count": self.count,
            "covariance_mean": self.mean,
            "covariance_m2": self.comoment,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Comoments":
        """Return what ``arrays`` wrote."""
        return cls(
            count=arrays["covariance_count"].astype(np.int64),
            mean=arrays["covariance_mean"].astype(np.float64),
            comoment=arrays["covariance_m2"].astype(np.float64),
        )


def gram(blocks_NCK: Floats) -> Floats:
    """Return the sum over blocks of ``block @ block.T``, one block after the other.

    Args:
        blocks_NCK: Contiguous; C a multiple of ``ROW_MULTIPLE``, K at most ``BLOCK_COLUMNS``.
    """
    total = np.zeros((blocks_NCK.shape[1], blocks_NCK.shape[1]))
    for start in range(0, len(blocks_NCK), _BLOCKS_AT_ONCE):
        blocks = blocks_NCK[start : start + _BLOCKS_AT_ONCE]
        # A product with its own transpose is half the work: numpy calls syrk for it.
        total += np.matmul(blocks, blocks.swapaxes(1, 2)).sum(axis=0)
    return total


def round_up(number: int, multiple: int) -> int:
    """Return the smallest multiple that is at least ``number``."""
    return -(-number // multiple) * multiple


def participation_ratio(eigenvalues: Floats) -> float:
    """Return ``(sum l)^2 / sum l^2``: how many channels' worth of variance there is.

    1 when one direction holds everything, C when all hold the same.
    """
    squares = float(np.square(eigenvalues).sum())
    return float(eigenvalues.sum()) ** 2 / squares if squares > 0 else float("nan")
