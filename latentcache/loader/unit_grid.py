"""One column's units over one bucket of one generation: from a row to its tar and slot.

Everything is arithmetic but the rows that lack a sample, which are listed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentcache.core.units import BucketRun, UnitId
from latentcache.loader.permutation import Indices
from latentcache.store import ColumnView, UnitEntry
from latentcache.store.unit_reader import read_unit_meta

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Slots:
    """Where samples lie.

    Attributes:
        units: Number of the unit in the grid.
        slots: Rank among the unit's samples.
    """

    units: Indices
    slots: Indices


class UnitGrid:
    """The units of a ``BucketRun`` in order, numbered from 0; rows are places in the run."""

    def __init__(
        self, run: BucketRun, rows_per_unit: int, entries: Iterable[UnitEntry], missing: Indices
    ) -> None:
        """Index the units.

        Args:
            run: Whose rows these are.
            rows_per_unit: R of the encoding.
            entries: The snapshot's units; those of other runs are left out.
            missing: Places in the run of all rows that have no member in a unit that
                exists, ascending.
        """
        self.run = run
        self._rows_per_unit = min(rows_per_unit, run.rows_per_shard)
        self._parts = -(-run.rows_per_shard // self._rows_per_unit)
        last_rows = run.rows_in_shard(run.first_shard + run.num_shards - 1)
        last_parts = -(-last_rows // self._rows_per_unit)
        self.num_units = (run.num_shards - 1) * self._parts + last_parts
        self.entries: dict[int, UnitEntry] = {}
        for entry in entries:
            if 0 <= entry.unit.unit.shard - run.first_shard < run.num_shards:
                self.entries[self.number(entry.unit.unit)] = entry
        self._has_tar = np.zeros(self.num_units, bool)
        self._has_tar[[n for n, entry in self.entries.items() if entry.tar is not None]] = True
        self._missing = missing

    def number(self, unit: UnitId) -> int:
        """Return a unit's number in the grid."""
        return (unit.shard - self.run.first_shard) * self._parts + unit.part

    def units_of(self, rows: Indices) -> Indices:
        """Return the unit that each row belongs to."""
        shard, row = np.divmod(rows, self.run.rows_per_shard)
        units: Indices = shard * self._parts + row // self._rows_per_unit
        return units

    def is_present(self, rows: Indices) -> Flags:
        """Return which rows have a sample."""
        present: Flags = self._has_tar[self.units_of(rows)]
        if len(self._missing):
            at = np.searchsorted(self._missing, rows)
            present &= self._missing[np.minimum(at, len(self._missing) - 1)] != rows
        return present

    def locate(self, rows: Indices) -> Slots:
        """Return where the samples of rows lie, all of which must be present."""
        shard, row = np.divmod(rows, self.run.rows_per_shard)
        part, slots = np.divmod(row, self._rows_per_unit)
        if len(self._missing):
            # A slot is a rank among the rows present: take off the rows missing before it.
            first = np.searchsorted(self._missing, rows - slots)
            slots = slots - (np.searchsorted(self._missing, rows) - first)
        return Slots(shard * self._parts + part, slots)

    def absent_rows(self) -> Indices:
        """Return the places of all rows without a sample."""
        units = np.flatnonzero(~self._has_tar).tolist()
        return np.concatenate([self._missing, *map(self._rows_of_unit, units)])

    def _rows_of_unit(self, number: int) -> Indices:
        shard, part = divmod(number, self._parts)
        first = part * self._rows_per_unit
        in_shard = self.run.rows_in_shard(self.run.first_shard + shard)
        stop = min(first + self._rows_per_unit, in_shard)
        return np.arange(first, stop) + shard * self.run.rows_per_shard


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnUnits:
    """A column's units, read once for all its buckets.

    Attributes:
        view: The column.
        entries: Its units in (shard, part) order.
        quarantined: By shard, the rows in quarantine, ascending; empty if no unit needs it.
    """

    view: ColumnView
    entries: Sequence[UnitEntry]
    quarantined: Mapping[int, Indices]

    @classmethod
    def read(cls, view: ColumnView) -> "ColumnUnits":
        """Return the units of a column, and its quarantine if any of them lacks rows."""
        entries = view.units()
        is_partial = any(_lacks_some(entry) for entry in entries)
        quarantined = _quarantined_rows(view) if is_partial else {}
        return cls(view=view, entries=entries, quarantined=quarantined)

    def grid(self, run: BucketRun) -> UnitGrid:
        """Return the units of one bucket."""
        entries = [
            entry
            for entry in self.entries
            if 0 <= entry.unit.unit.shard - run.first_shard < run.num_shards
        ]
        missing = self._missing_rows(run, entries)
        return UnitGrid(run, self.view.record.rows_per_unit, entries, missing)

    def _missing_rows(self, run: BucketRun, entries: Sequence[UnitEntry]) -> Indices:
        """Return the places in the run of rows without a member, in units that have others.

        The snapshot's quarantine lists them all but those that were retired meanwhile; the
        few units where the count shows it are asked themselves.
        """
        pieces = [np.zeros(0, np.int64)]
        for entry in filter(_lacks_some, entries):
            unit = entry.unit
            rows = self.quarantined.get(unit.unit.shard, np.zeros(0, np.int64))
            rows = rows[(rows >= unit.first_row) & (rows < unit.first_row + unit.num_rows)]
            if len(rows) != unit.num_rows - entry.num_present:
                present = read_unit_meta(self.view.folder, entry).present
                rows = np.flatnonzero(~present) + unit.first_row
            pieces.append(rows + (unit.unit.shard - run.first_shard) * run.rows_per_shard)
        return np.sort(np.concatenate(pieces))


def _lacks_some(entry: UnitEntry) -> bool:
    return entry.tar is not None and entry.num_present < entry.unit.num_rows


def _quarantined_rows(column: ColumnView) -> Mapping[int, Indices]:
    table = column.quarantine()
    shards = table["shard"].to_numpy().astype(np.int64)
    rows = table["row"].to_numpy().astype(np.int64)
    order = np.lexsort((rows, shards))
    shards, rows = shards[order], rows[order]
    numbers, starts = np.unique(shards, return_index=True)
    groups = np.split(rows, starts[1:]) if len(numbers) else []
    return dict(zip(numbers.tolist(), groups, strict=True))
