"""One column's units: as a snapshot lists them, and those of one bucket of one generation.

A unit becomes an object when its tar is first needed: a bucket may have tens of thousands.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from latentcache.core.rejects import RejectCode
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

_PLACES_SCHEMA = pa.schema([QUARANTINE_SCHEMA.field(name) for name in ("shard", "row", "code")])


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnUnits:
    """A column's units, read once for all its buckets.

    Attributes:
        view: The column.
        units: In (shard, part) order.
        quarantined: [rows, 2], (shard, row) in quarantine, ascending; empty if no unit
            needs it.
        absent: [rows, 2], those of them that have no medium of the column's role.
    """

    view: ColumnView
    units: UnitTable
    quarantined: Indices
    absent: Indices

    @classmethod
    def read(cls, view: ColumnView) -> "ColumnUnits":
        """Return the units of a column, and its quarantine if any of them lacks rows."""
        units = read_unit_table(view.folder, view.entry.units)
        quarantined = absent = np.zeros((0, 2), np.int64)
        if _lacks_some(units).any() or view.num_absent:
            quarantined, absent = _quarantined_rows(view)
        return cls(view=view, units=units, quarantined=quarantined, absent=absent)

    def of_run(self, run: BucketRun) -> "RunUnits":
        """Return the units of one bucket."""
        missing, absent = self._missing_rows(run), _places(run, self.absent)
        return RunUnits(run, self.view.record.rows_per_unit, self.units, missing, absent)

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


class UnitEntries(Mapping[int, UnitEntry]):
    """Units by their number in a run, made when they are looked at."""

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


class RunUnits:
    """The units of a ``BucketRun`` in order, numbered from 0; rows are places in the run.

    Attributes:
        run: Whose rows these are.
        rows_per_unit: Of every unit of a shard but its last.
        parts: Units of a shard, but of the last, which may have fewer.
        num_units: Planned.
        entries: Those that the snapshot has.
        tar_bytes: Of the units that the snapshot has, in their order; 0 without a tar.
        num_present: Samples of each of those units.
        has_tar: Which of all units have samples.
        missing: Rows without a member in units that have others, ascending.
        absent: Rows that have no medium of the column's role, in whatever units, ascending.
    """

    def __init__(
        self,
        run: BucketRun,
        rows_per_unit: int,
        units: UnitTable,
        missing: Indices,
        absent: Indices,
    ) -> None:
        """Index the units.

        Args:
            run: Whose rows these are.
            rows_per_unit: R of the encoding.
            units: The snapshot's; those of other runs are left out.
            missing: Places in the run of all rows that have no member in a unit that
                exists, ascending.
            absent: Places of all that are absent, ascending.
        """
        self.run, self.missing, self.absent = run, missing, absent
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
        self.tar_bytes, self.num_present = units.tar_size_bytes[inside], units.num_present[inside]
        self.has_tar = np.zeros(self.num_units, bool)
        self.has_tar[numbers] = self.tar_bytes > 0

    def number(self, unit: UnitId) -> int:
        """Return a unit's number."""
        return (unit.shard - self.run.first_shard) * self.parts + unit.part

    def spans_without_tar(self) -> Indices:
        """Return the places of units that have no sample at all, [units, 2]: start and stop."""
        shards, parts = np.divmod(np.flatnonzero(~self.has_tar), self.parts)
        first = shards * self.run.rows_per_shard
        starts = first + parts * self.rows_per_unit
        ends = np.minimum(first + self.run.rows_per_shard, self.run.num_rows)
        return np.stack([starts, np.minimum(starts + self.rows_per_unit, ends)], axis=1)


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


def _quarantined_rows(view: ColumnView) -> tuple[Indices, Indices]:
    """Return (shard, row) of all rows in quarantine, and of those that are absent."""
    table = read_quarantine(view.folder, view.entry.quarantine, _PLACES_SCHEMA)
    shards = numbers(table["shard"]).astype(np.int64)
    rows = numbers(table["row"]).astype(np.int64)
    order = np.lexsort((rows, shards))
    pairs: Indices = np.stack([shards[order], rows[order]], axis=1)
    is_absent = np.array(pc.equal(table["code"], pa.scalar(RejectCode.ABSENT.word)), bool)
    return pairs, pairs[is_absent[order]]
