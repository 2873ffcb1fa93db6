"""One column's units over several buckets, numbered one bucket after the other.

Long clips have a shard and often a bucket of their own: a grid may join thousands of one row, so
nothing here goes from bucket to bucket when a batch is located.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from latentcache.loader.index.unit_index import Grid, UnitGrid
from latentcache.loader.order.feistel import Indices
from latentcache.store import UnitEntry


class JoinedEntries(Mapping[int, UnitEntry]):
    """Units of several grids by their number in all of them."""

    def __init__(self, grids: Sequence[UnitGrid], first_units: Indices) -> None:
        self._grids, self._first_units = grids, first_units

    def __getitem__(self, number: int) -> UnitEntry:
        place = int(np.searchsorted(self._first_units, number, side="right")) - 1
        return self._grids[place].entries[number - int(self._first_units[place])]

    def __iter__(self) -> Iterator[int]:
        for grid, first in zip(self._grids, self._first_units.tolist(), strict=True):
            yield from (first + number for number in grid.entries)

    def __len__(self) -> int:
        return sum(len(grid.entries) for grid in self._grids)


class JoinedGrid(Grid):
    """The rows of several runs, one after the other.

    Attributes:
        first_rows: Row with which each run begins.
        first_units: Unit with which each run begins.
    """

    def __init__(self, label: str, grids: Sequence[UnitGrid]) -> None:
        """Join grids of one column.

        Args:
            label: For messages.
            grids: At least one; rows of each are numbered from 0.
        """
        self.label = label
        self.first_rows = _starts([grid.run.num_rows for grid in grids])
        self.first_units = _starts([grid.num_units for grid in grids])
        self.num_units = sum(grid.num_units for grid in grids)
        self.entries = JoinedEntries(grids, self.first_units)
        self.rows_per_unit = max(grid.rows_per_unit for grid in grids)
        self.largest_tar_bytes = max(grid.largest_tar_bytes for grid in grids)
        firsts = self.first_rows.tolist()
        self.missing = np.concatenate(
            [grid.missing + first for grid, first in zip(grids, firsts, strict=True)]
        )
        spans = [
            grid.spans_without_tar() + first for grid, first in zip(grids, firsts, strict=True)
        ]
        self._spans = np.concatenate(spans)
        self.has_tar = np.concatenate([grid.has_tar for grid in grids])
        self._rows_per_shard: Indices = np.array(
            [grid.run.rows_per_shard for grid in grids], np.int64
        )
        self._rows_per_unit: Indices = np.array([grid.rows_per_unit for grid in grids], np.int64)
        self._parts: Indices = np.array([grid.parts for grid in grids], np.int64)

    def runs_of(self, rows: Indices) -> Indices:
        """Return which run each row is of, by its place among them."""
        found: Indices = np.searchsorted(self.first_rows, rows, side="right") - 1
        return found

    def runs_of_units(self, units: Indices) -> Indices:
        """Return which run each unit is of."""
        found: Indices = np.searchsorted(self.first_units, units, side="right") - 1
        return found

    def spans_without_tar(self) -> Indices:
        """Return the places of units that have no sample at all, [units, 2]: start and stop."""
        return self._spans

    def _divided(self, rows: Indices) -> tuple[Indices, Indices]:
        runs = self.runs_of(rows)
        places = rows - self.first_rows[runs]
        shard = places // self._rows_per_shard[runs]
        row = places % self._rows_per_shard[runs]
        part, inside = row // self._rows_per_unit[runs], row % self._rows_per_unit[runs]
        units: Indices = self.first_units[runs] + shard * self._parts[runs] + part
        return units, inside


def _starts(counts: Sequence[int]) -> Indices:
    starts: Indices = np.cumsum([0, *counts[:-1]], dtype=np.int64)
    return starts
