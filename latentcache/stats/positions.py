"""Moments per channel and position of a grid, for features that are normalized place by place.

RAE and its kin subtract a mean (C, H, W) and divide by a deviation of that shape: what a vision
model says of a picture's corner differs from what it says of the middle.

Dimension letters: B batch, C channels, P positions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentcache.stats.moments import Arrays, Counts, Floats

Grid = tuple[int, ...]
"""Height and width, or the length of a list of tokens."""

_NAME = re.compile(r"position_(\d+(?:x\d+)*)_(count|mean|m2)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionMoments:
    """Moments over the samples of one grid.

    Attributes:
        count: Samples, int64 (1); those with a value that is not finite are left out.
        mean: (C, *grid).
        m2: Sums of squared deviations, likewise.
    """

    count: Counts
    mean: Floats
    m2: Floats

    @classmethod
    def from_values(cls, values_BCP: NDArray[np.generic]) -> "PositionMoments":
        """Return the moments of a batch, (B, C, *grid)."""
        values = np.asarray(values_BCP, np.float64)
        finite = values[np.isfinite(values).reshape(len(values), -1).all(axis=1)]
        count = len(finite)
        mean: Floats = finite.sum(axis=0) / max(count, 1)
        m2: Floats = np.square(finite - mean).sum(axis=0)
        return cls(count=np.array([count], np.int64), mean=mean, m2=m2)

    @property
    def std(self) -> Floats:
        """Population standard deviation (C, *grid); 0 without samples."""
        found: Floats = np.sqrt(self.m2 / max(int(self.count[0]), 1))
        return found

    def merge(self, other: "PositionMoments") -> "PositionMoments":
        """Return the moments of both sets of samples (Chan's formula, see ``Moments``)."""
        count = self.count + other.count
        share = other.count[0] / max(int(count[0]), 1)
        delta = other.mean - self.mean
        return PositionMoments(
            count=count,
            mean=other.mean if self.count[0] == 0 else self.mean + delta * share,
            m2=self.m2 + other.m2 + delta * delta * (self.count[0] * share),
        )


Positions = Mapping[Grid, PositionMoments]


def merge_positions(ours: Positions, theirs: Positions) -> dict[Grid, PositionMoments]:
    """Return both together, grid by grid."""
    merged = dict(ours)
    for grid, moments in theirs.items():
        merged[grid] = merged[grid].merge(moments) if grid in merged else moments
    return merged


def position_arrays(positions: Positions) -> dict[str, NDArray[np.generic]]:
    """Return the arrays by name, ``position_16x16_mean`` and so on."""
    return {
        f"position_{'x'.join(map(str, grid))}_{name}": getattr(moments, name)
        for grid, moments in sorted(positions.items())
        for name in ("count", "mean", "m2")
    }


def read_positions(arrays: Arrays) -> dict[Grid, PositionMoments]:
    """Return what ``position_arrays`` wrote; {} where there is nothing of it."""
    grids = {match[1] for name in arrays if (match := _NAME.fullmatch(name))}
    return {
        tuple(map(int, text.split("x"))): PositionMoments(
            count=arrays[f"position_{text}_count"].astype(np.int64),
            mean=arrays[f"position_{text}_mean"].astype(np.float64),
            m2=arrays[f"position_{text}_m2"].astype(np.float64),
        )
        for text in sorted(grids)
    }
