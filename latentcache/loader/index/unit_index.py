"""From a row of a stream to its tar and slot: the units of one column, over one or many buckets.

Everything is arithmetic but the rows that lack a sample, which are listed. Long clips have a
shard and often a bucket of their own: an index may join thousands of one row, so nothing here
goes from bucket to bucket when a batch is located.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from latentcache.loader.index.column_units import Flags, RunUnits
from latentcache.loader.order.feistel import Indices
from latentcache.store import UnitEntry

_THE_ONE: Indices = np.zeros(1, np.int64)


@dataclass(frozen=True, slots=True)
class Slots:
    """Where samples lie.

    Attributes:
        units: Number of the unit in the index.
        slots: Rank among the unit's samples.
    """

    units: Indices
    slots: Indices


class UnitIndex:
    """The rows of several runs, one after the other, and the units that hold them.

    Attributes:
        label: For messages.
        runs: Units of each run.
        num_rows: Planned.
        num_units: Planned.
        entries: Those that the snapshot has, by their number.
        first_rows: Row with which each run begins.
        first_units: Unit with which each run begins.
        rows_per_unit: Of every unit of a shard but its last; the largest if they differ.
        largest_tar_bytes: 0 if there is none.
        missing: Rows without a member in units that have others, ascending.
        has_tar: Which units have samples.
        absent: Rows that have no medium of the column's role, ascending: a batch says so of them.
    """

    def __init__(self, label: str, runs: Sequence[RunUnits]) -> None:
        """Number the runs' units one run after the other.

        Args:
            label: For messages.
            runs: At least one; rows and units of each are numbered from 0.
        """
        self.label, self.runs = label, runs
        self.num_rows = sum(one.run.num_rows for one in runs)
        self.num_units = sum(one.num_units for one in runs)
        self.first_rows = _starts([one.run.num_rows for one in runs])
        self.first_units = _starts([one.num_units for one in runs])
        self.entries: Mapping[int, UnitEntry] = _Entries(runs, self.first_units)
        self.rows_per_unit = max(one.rows_per_unit for one in runs)
        self.largest_tar_bytes = max(int(one.tar_bytes.max(initial=0)) for one in runs)
        self.has_tar = np.concatenate([one.has_tar for one in runs])
        firsts = self.first_rows.tolist()
        self.missing: Indices = np.concatenate(
            [one.missing + first for one, first in zip(runs, firsts, strict=True)]
        )
        self.absent: Indices = np.concatenate(
            [one.absent + first for one, first in zip(runs, firsts, strict=True)]
        )
        self._shard_rows: Indices = np.array([one.run.rows_per_shard for one in runs], np.int64)
        self._unit_rows: Indices = np.array([one.rows_per_unit for one in runs], np.int64)
        self._parts: Indices = np.array([one.parts for one in runs], np.int64)

    def runs_of(self, rows: Indices) -> Indices:
        """Return which run each row is of, by its place among them; one for all if there is one."""
        if len(self.runs) == 1:
            return _THE_ONE
        found: Indices = np.searchsorted(self.first_rows, rows, side="right") - 1
        return found

    def runs_of_units(self, units: Indices) -> Indices:
        """Return which run each unit is of; one for all if there is one."""
        if len(self.runs) == 1:
            return _THE_ONE
        found: Indices = np.searchsorted(self.first_units, units, side="right") - 1
        return found

    def spans_without_tar(self) -> Indices:
        """Return the places of units that have no sample at all, [units, 2]: start and stop."""
        firsts = self.first_rows.tolist()
        spans = [
            one.spans_without_tar() + first for one, first in zip(self.runs, firsts, strict=True)
        ]
        return np.concatenate(spans)

    def units_of(self, rows: Indices) -> Indices:
        """Return the unit that each row belongs to."""
        return self._divided(rows)[0]

    def is_present(self, rows: Indices) -> Flags:
        """Return which rows have a sample."""
        present: Flags = self.has_tar[self.units_of(rows)]
        if len(self.missing):
            at = np.searchsorted(self.missing, rows)
            present &= self.missing[np.minimum(at, len(self.missing) - 1)] != rows
        return present

    def lacking(self) -> Indices:
        """Return the rows that have no sample and are not absent, ascending."""
        spans = [np.arange(start, stop) for start, stop in self.spans_without_tar().tolist()]
        rows = np.concatenate([self.missing, *spans])
        found: Indices = np.setdiff1d(rows, self.absent)
        return found

    @cached_property
    def first_present(self) -> int:
        """The first row that has a sample; there is one."""
        run = next(number for number, one in enumerate(self.runs) if one.has_tar.any())
        one = self.runs[run]
        shard, part = divmod(int(np.flatnonzero(one.has_tar)[0]), one.parts)
        start = shard * one.run.rows_per_shard + part * one.rows_per_unit
        end_of_shard = (shard + 1) * one.run.rows_per_shard
        stop = min(start + one.rows_per_unit, end_of_shard, one.run.num_rows)
        rows = np.arange(start, stop) + int(self.first_rows[run])
        return int(rows[self.is_present(rows)][0])

    def locate(self, rows: Indices) -> Slots:
        """Return where the samples of rows lie, all of which must be present."""
        units, slots = self._divided(rows)
        if len(self.missing):
            # A slot is a rank among the rows present: take off the rows missing before it.
            first = np.searchsorted(self.missing, rows - slots)
            slots = slots - (np.searchsorted(self.missing, rows) - first)
        return Slots(units, slots)

    def _divided(self, rows: Indices) -> tuple[Indices, Indices]:
        """Return each row's unit, and its place in it."""
        runs = self.runs_of(rows)
        places = rows - self.first_rows[runs]
        shard_rows, unit_rows = self._shard_rows[runs], self._unit_rows[runs]
        shard, row = places // shard_rows, places % shard_rows
        part, inside = row // unit_rows, row % unit_rows
        units: Indices = self.first_units[runs] + shard * self._parts[runs] + part
        return units, inside


class _Entries(Mapping[int, UnitEntry]):
    """Units of several runs by their number in all of them."""

    def __init__(self, runs: Sequence[RunUnits], first_units: Indices) -> None:
        self._runs, self._first_units = runs, first_units

    def __getitem__(self, number: int) -> UnitEntry:
        place = int(np.searchsorted(self._first_units, number, side="right")) - 1
        return self._runs[place].entries[number - int(self._first_units[place])]

    def __iter__(self) -> Iterator[int]:
        for one, first in zip(self._runs, self._first_units.tolist(), strict=True):
            yield from (first + number for number in one.entries)

    def __len__(self) -> int:
        return sum(len(one.entries) for one in self._runs)


def join_spans(spans: Indices) -> Indices:
    """Return the same places as ascending spans that neither overlap nor touch."""
    ordered = spans[np.argsort(spans[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ordered[:, 1])
    opens = np.ones(len(ordered), bool)
    opens[1:] = ordered[1:, 0] > reach[:-1]
    closes = np.append(opens[1:], True)[: len(ordered)]
    joined: Indices = np.stack([ordered[opens, 0], reach[closes]], axis=1)
    return joined


def points_outside(joined: Indices, points: Indices) -> Indices:
    """Return the distinct points, ascending, that lie in none of some joined spans."""
    distinct = np.unique(points)
    if not len(joined):
        return distinct
    at = np.searchsorted(joined[:, 0], distinct, side="right") - 1
    inside = (at >= 0) & (distinct < joined[np.maximum(at, 0), 1])
    outside: Indices = distinct[~inside]
    return outside


def _starts(counts: Sequence[int]) -> Indices:
    starts: Indices = np.cumsum([0, *counts[:-1]], dtype=np.int64)
    return starts
