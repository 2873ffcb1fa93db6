"""One column's units over one bucket of one generation: from a row to its tar and slot.

Everything is arithmetic but the rows that lack a sample, which are listed. A unit becomes
an object when its tar is first needed: a bucket may have tens of thousands.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.units import BucketRun, UnitId
from latentcache.loader.order.feistel import Indices
from latentcache.storage import map_ahead
from latentcache.store import ColumnView, UnitEntry
from latentcache.store.format import numbers
from latentcache.store.snapshots import (
    QUARANTINE_SCHEMA,
    UnitTable,
    read_quarantine,
    read_unit_table,
)
from latentcache.store.units import read_unit_meta

Flags = np.ndarray[Any, np.dtype[np.bool_]]

_MOST_MADE = 1024
"""Units that stay objects, 2 KiB each: those of the windows at hand."""

_PLACES_SCHEMA = pa.schema([QUARANTINE_SCHEMA.field(name) for name in ("shard", "row")])


@dataclass(frozen=True, slots=True)
class Slots:
    """Where samples lie.

    Attributes:
        units: Number of the unit in the grid.
        slots: Rank among the unit's samples.
    """

    units: Indices
    slots: Indices


class UnitEntries(Mapping[int, UnitEntry]):
    """Units by their number in a grid, made when they are looked at."""

    def __init__(self, table: UnitTable, index_of: Indices) -> None:
        self._table, self._index_of = table, index_of
        self._made: dict[int, UnitEntry] = {}

    def __getitem__(self, number: int) -> UnitEntry:
        found = self._made.get(number)
        if found is None:
            if not 0 <= number < len(self._index_of) or self._index_of[number] < 0:
                raise KeyError(number)
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            found = self._made[number] = self._table.entry(int(self._index_of[number]))
        return found

    def __iter__(self) -> Iterator[int]:
        return iter(np.flatnonzero(self._index_of >= 0).tolist())

    def __len__(self) -> int:
        return int((self._index_of >= 0).sum())


class Grid(ABC):
    """Units numbered from 0, and where in them the samples of rows lie.

    Attributes:
        label: For messages.
        num_units: Planned.
        entries: Those that the snapshot has.
        rows_per_unit: Of every unit of a shard but its last; the largest if they differ.
        largest_tar_bytes: 0 if there is none.
        missing: Rows without a member in units that have others, ascending.
        has_tar: Which units have samples.
    """

    label: str
    num_units: int
    entries: Mapping[int, UnitEntry]
    rows_per_unit: int
    largest_tar_bytes: int
    missing: Indices
    has_tar: Flags

    @abstractmethod
    def spans_without_tar(self) -> Indices:
        """Return the places of units that have no sample at all, [units, 2]: start and stop."""

    @abstractmethod
    def _divided(self, rows: Indices) -> tuple[Indices, Indices]:
        """Return each row's unit, and its place in it."""

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

    def locate(self, rows: Indices) -> Slots:
        """Return where the samples of rows lie, all of which must be present."""
        units, slots = self._divided(rows)
        if len(self.missing):
            # A slot is a rank among the rows present: take off the rows missing before it.
            first = np.searchsorted(self.missing, rows - slots)
            slots = slots - (np.searchsorted(self.missing, rows) - first)
        return Slots(units, slots)


class UnitGrid(Grid):
    """The units of a ``BucketRun`` in order, numbered from 0; rows are places in the run.

    Attributes:
        run: Whose rows these are.
        parts: Units of a shard, but of the last, which may have fewer.
        tar_bytes: Of the units that the snapshot has, in their order; 0 without a tar.
        num_present: Samples of each of those units.
    """

    def __init__(
        self, run: BucketRun, rows_per_unit: int, units: UnitTable, missing: Indices
    ) -> None:
        """Index the units.

        Args:
            run: Whose rows these are.
            rows_per_unit: R of the encoding.
            units: The snapshot's; those of other runs are left out.
            missing: Places in the run of all rows that have no member in a unit that
                exists, ascending.
        """
        self.run, self.label = run, str(run.bucket)
        self.rows_per_unit = min(rows_per_unit, run.rows_per_shard)
        self.parts = -(-run.rows_per_shard // self.rows_per_unit)
        last_rows = run.rows_in_shard(run.first_shard + run.num_shards - 1)
        last_parts = -(-last_rows // self.rows_per_unit)
        self.num_units = (run.num_shards - 1) * self.parts + last_parts
        inside = np.flatnonzero(_of_run(units.shard, run))
        numbers = (units.shard[inside] - run.first_shard) * self.parts + units.part[inside]
        index_of = np.full(self.num_units, -1, np.int64)
        index_of[numbers] = inside
        self.entries: Mapping[int, UnitEntry] = UnitEntries(units, index_of)
        tar_bytes = units.tar_size_bytes[inside]
        self.tar_bytes, self.num_present = tar_bytes, units.num_present[inside]
        self.largest_tar_bytes = int(tar_bytes.max(initial=0))
        self.has_tar = np.zeros(self.num_units, bool)
        self.has_tar[numbers] = tar_bytes > 0
        self.missing = missing

    def number(self, unit: UnitId) -> int:
        """Return a unit's number in the grid."""
        return (unit.shard - self.run.first_shard) * self.parts + unit.part

    def _divided(self, rows: Indices) -> tuple[Indices, Indices]:
        shard, row = np.divmod(rows, self.run.rows_per_shard)
        part, inside = np.divmod(row, self.rows_per_unit)
        return shard * self.parts + part, inside

    def spans_without_tar(self) -> Indices:
        """Return the places of units that have no sample at all, [units, 2]: start and stop."""
        shards, parts = np.divmod(np.flatnonzero(~self.has_tar), self.parts)
        first = shards * self.run.rows_per_shard
        starts = first + parts * self.rows_per_unit
        ends = np.minimum(first + self.run.rows_per_shard, self.run.num_rows)
        return np.stack([starts, np.minimum(starts + self.rows_per_unit, ends)], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnUnits:
    """A column's units, read once for all its buckets.

    Attributes:
        view: The column.
        units: In (shard, part) order.
        quarantined: [rows, 2], (shard, row) in quarantine, ascending; empty if no unit
            needs it.
    """

    view: ColumnView
    units: UnitTable
    quarantined: Indices

    @classmethod
    def read(cls, view: ColumnView) -> "ColumnUnits":
        """Return the units of a column, and its quarantine if any of them lacks rows."""
        units = read_unit_table(view.folder, view.entry.units)
        quarantined = np.zeros((0, 2), np.int64)
        if _lacks_some(units).any():
            quarantined = _quarantined_rows(view)
        return cls(view=view, units=units, quarantined=quarantined)

    def grid(self, run: BucketRun) -> UnitGrid:
        """Return the units of one bucket."""
        missing = self._missing_rows(run)
        return UnitGrid(run, self.view.record.rows_per_unit, self.units, missing)

    def _missing_rows(self, run: BucketRun) -> Indices:
        """Return the places in the run of rows without a member, in units that have others.

        The snapshot's quarantine lists them all but those that were retired meanwhile; the
        few units where the count shows it are asked themselves.
        """
        units = self.units
        lacking = np.flatnonzero(_lacks_some(units) & _of_run(units.shard, run))
        starts = (units.shard[lacking] - run.first_shard) * run.rows_per_shard
        starts = starts + units.first_row[lacking]
        num_lacking = units.num_rows[lacking] - units.num_present[lacking]
        places = _places(run, self.quarantined)
        first = np.searchsorted(places, starts)
        listed = np.searchsorted(places, starts + units.num_rows[lacking]) - first
        agrees = listed == num_lacking
        pieces = [places[_ranges(first[agrees], listed[agrees])]]
        asked = lacking[~agrees].tolist()
        for start, rows in zip(
            starts[~agrees].tolist(), map_ahead(self._rows_without, asked), strict=True
        ):
            pieces.append(rows + start)
        return np.sort(np.concatenate(pieces))

    def _rows_without(self, index: int) -> Indices:
        present = read_unit_meta(self.view.folder, self.units.entry(index)).present
        return np.flatnonzero(~present)


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


def _of_run(shards: Indices, run: BucketRun) -> Flags:
    at = shards - run.first_shard
    return (at >= 0) & (at < run.num_shards)


def _places(run: BucketRun, pairs: Indices) -> Indices:
    """Return the places in the run of those (shard, row) pairs that are of it."""
    shards, rows = pairs[_of_run(pairs[:, 0], run)].T
    places: Indices = (shards - run.first_shard) * run.rows_per_shard + rows
    return places


def _lacks_some(units: UnitTable) -> Flags:
    return (units.tar_size_bytes > 0) & (units.num_present < units.num_rows)


def _ranges(starts: Indices, lengths: Indices) -> Indices:
    """Return ``start, start + 1, ...`` of each range, one after the other."""
    ends = np.cumsum(lengths)
    offsets: Indices = np.repeat(starts - (ends - lengths), lengths)
    return np.arange(len(offsets)) + offsets


def _quarantined_rows(view: ColumnView) -> Indices:
    table = read_quarantine(view.folder, view.entry.quarantine, _PLACES_SCHEMA)
    shards = numbers(table["shard"]).astype(np.int64)
    rows = numbers(table["row"]).astype(np.int64)
    order = np.lexsort((rows, shards))
    pairs: Indices = np.stack([shards[order], rows[order]], axis=1)
    return pairs
