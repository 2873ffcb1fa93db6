"""Exact histograms: a bin is the top 12 bits of a float32.

Sign, 8 bits of exponent and 3 of mantissa: eight bins an octave, no range to choose before
the data is seen, and adding counts is exact. Dimension letters: N rows, C channels,
P positions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentcache.stats.moments import Arrays, Counts, Floats

NUM_BINS = 4096
_DROPPED_BITS = 20
_SIGN_BIN = 2048
_FIRST_NONFINITE_BIN = 0x7F8


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """The non-empty bins of every channel.

    Attributes:
        cell: ``channel * 4096 + bin``, ascending, int64 (K).
        count: Values in each, at least 1, int64 (K).
    """

    cell: Counts
    count: Counts

    @classmethod
    def from_dense(cls, dense: Counts) -> "Histogram":
        """Return the non-empty cells of a flat array of C * 4096 counts."""
        cell = np.flatnonzero(dense).astype(np.int64)
        return cls(cell=cell, count=dense[cell])

    def merge(self, other: "Histogram") -> "Histogram":
        """Return the sum of both, exactly."""
        cell, count = add_sparse((self.cell, self.count), (other.cell, other.count))
        return Histogram(cell=cell, count=count)

    def channel(self, index: int) -> tuple[Floats, Floats, Counts]:
        """Return (low, high, count) of the channel's bins, ascending by value.

        A bin holds ``low <= x < high``, and ``low < x <= high`` where it is negative.
        """
        start, stop = np.searchsorted(self.cell, [index * NUM_BINS, (index + 1) * NUM_BINS])
        low, high = bin_edges(self.cell[start:stop] - index * NUM_BINS)
        ascending = np.argsort(low, kind="stable")
        return low[ascending], high[ascending], self.count[start:stop][ascending]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the two arrays by name."""
        return {"histogram_cell": self.cell, "histogram_count": self.count}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Histogram":
        """Return what ``arrays`` wrote."""
        return cls(
            cell=arrays["histogram_cell"].astype(np.int64),
            count=arrays["histogram_count"].astype(np.int64),
        )


class HistogramCounter:
    """Counts of one field and class while a unit is encoded, dense and reused."""

    def __init__(self, num_channels: int) -> None:
        self._offsets = (np.arange(num_channels, dtype=np.uint32) * NUM_BINS)[:, None]
        self._dense = np.zeros(num_channels * NUM_BINS, dtype=np.int64)
        self._cells = np.empty(0, dtype=np.uint32)

    def add(self, values_NCP: NDArray[np.float32]) -> None:
        """Count finite values."""
        if self._cells.size < values_NCP.size:
            self._cells = np.empty(values_NCP.size, dtype=np.uint32)
        cells = self._cells[: values_NCP.size].reshape(values_NCP.shape)
        np.right_shift(values_NCP.view(np.uint32), _DROPPED_BITS, out=cells)
        np.add(cells, self._offsets, out=cells)
        self._dense += np.bincount(cells.reshape(-1), minlength=self._dense.size)

    def add_finite(self, values_NCP: NDArray[np.float32]) -> None:
        """Count the finite among values of which some are not."""
        for channel in range(values_NCP.shape[1]):
            values = values_NCP[:, channel]
            values = values[np.isfinite(values)]
            bins = values.view(np.uint32) >> _DROPPED_BITS
            start = channel * NUM_BINS
            self._dense[start : start + NUM_BINS] += np.bincount(bins, minlength=NUM_BINS)

    def result(self) -> Histogram:
        """Return the non-empty bins."""
        return Histogram.from_dense(self._dense)


def bin_edges(bins: Counts) -> tuple[Floats, Floats]:
    """Return the (low, high) values of bins 0 to 4095."""
    magnitude = bins % _SIGN_BIN
    inner = (magnitude.astype(np.uint32) << _DROPPED_BITS).view(np.float32).astype(np.float64)
    above = np.minimum(magnitude + 1, _FIRST_NONFINITE_BIN)
    outer = (above.astype(np.uint32) << _DROPPED_BITS).view(np.float32).astype(np.float64)
    outer[above == _FIRST_NONFINITE_BIN] = 2.0**128
    is_negative = bins >= _SIGN_BIN
    return np.where(is_negative, -outer, inner), np.where(is_negative, -inner, outer)


def add_sparse(ours: tuple[Counts, Counts], theirs: tuple[Counts, Counts]) -> tuple[Counts, Counts]:
    """Return the (ascending keys, counts) of two sets of counted keys together."""
    if theirs[0].size == 0:
        return ours
    keys = np.concatenate([ours[0], theirs[0]])
    counts = np.concatenate([ours[1], theirs[1]])
    unique, slot = np.unique(keys, return_inverse=True)
    total = np.zeros(unique.size, dtype=np.int64)
    np.add.at(total, slot, counts)
    return unique, total
