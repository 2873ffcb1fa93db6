"""One bucket of one generation of one source, ready to be drawn from: rows in, samples out."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.core.seeds import keyed_uint64
from latentcache.core.units import BucketRun
from latentcache.loader.cache import ShardCache, check_file
from latentcache.loader.gather import Gather, Places, keys_as_text, open_gather
from latentcache.loader.member import MemberTemplate, read_template
from latentcache.loader.order import Drawn
from latentcache.loader.permutation import Indices
from latentcache.loader.selection import Selection
from latentcache.loader.unit_grid import ColumnUnits, Flags, join_spans, points_outside
from latentcache.loader.varying import VaryingGather, varies
from latentcache.store import UnitEntry
from latentcache.store.tensor_file import TensorEntry

_MAX_TRIES = 64
"""Keyed substitutes tried before the selection is searched in order."""

_CALLS_ASKED = 64
"""Batches for which a shard that was asked for is not asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlace:
    """Which stream it is.

    Attributes:
        name: Source, generation and bucket; keys the order.
        source: Number of the source.
        generation: Number of the generation.
        first_place: Rows of the plan before the run: a row's number in the plan is this
            plus its place in the run.
    """

    name: str
    source: int
    generation: int
    first_place: int


@dataclass(frozen=True, slots=True)
class Picked:
    """Rows that a batch is made of.

    Attributes:
        rows: Places in the run; all present in every column.
        draws: How many times the order had come by before.
        num_substituted: Rows that stand in for others.
    """

    rows: Indices
    draws: Indices
    num_substituted: int


def _advise(path: Path) -> None:
    """Have the kernel read a file into its page cache; returns at once."""
    if not hasattr(os, "posix_fadvise"):
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # told when its batch is due
        return
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(descriptor)


class StreamColumn:
    """One column of a stream: where its samples lie and how to copy them.

    Attributes:
        view: The column in its snapshot.
        grid: Its units in this bucket.
        template: Layout of a sample.
        cache: Holds the tars of a remote store; None where the store is local.
        is_varying: Samples differ in size: they are read one by one.
        max_mapped: Tars that may stay mapped, None for all; set before the first batch.
    """

    def __init__(
        self,
        units: ColumnUnits,
        run: BucketRun,
        cache: ShardCache | None,
        *,
        is_verified: bool = False,
    ) -> None:
        """Index the column's units.

        Args:
            units: Of the column, in all buckets.
            run: The bucket's shards.
            cache: Holds tars of remote stores.
            is_verified: Compare local tars with their checksums when they are first needed.

        Raises:
            ConfigError: The column has no sample in this bucket.
        """
        view = units.view
        self.view, self.cache = view, None if view.folder.is_local else cache
        self._is_verified = is_verified
        self._asked: dict[int, int] = {}
        self._num_calls = 0
        self.grid = units.grid(run)
        self._was_needed = np.zeros(self.grid.num_units, bool)
        template = read_template(view.folder, self.grid.entries.values())
        if template is None:
            raise ConfigError(
                f"column {view.name} must have samples in bucket {run.bucket}, got none; encode "
                f"it, or leave the bucket out with filter='bucket != \"{run.bucket}\"'"
            )
        self.template: MemberTemplate = template
        # Pixels decide the size of what has channels, frames, height and width alone.
        may_vary = any(set(field.axes) - set("CTHW") for field in view.record.fields)
        self.is_varying = may_vary and varies(view.folder, self.grid, stride=template.stride)
        self.max_mapped: int | None = None

    @cached_property
    def gather(self) -> Gather:
        """What copies samples of one size; maps nothing before the first batch."""
        return open_gather(self.grid, self.template, self._find_tar, max_mapped=self._most_mapped())

    @cached_property
    def varying(self) -> VaryingGather:
        """What reads samples that vary in size."""
        folder, most = self.view.folder, self._most_mapped()
        return VaryingGather(folder, self.grid, self._find_tar, max_mapped=most)

    def _most_mapped(self) -> int | None:
        if self.cache is None:
            return self.max_mapped
        # A tar that is mapped keeps its disk space when the cache throws it out, so only so
        # many stay mapped as the cache could hold beside other streams'.
        fitting = max(2, self.cache.max_bytes // (4 * self.grid.largest_tar_bytes))
        return fitting if self.max_mapped is None else min(self.max_mapped, fitting)

    def field(self, name: str) -> TensorEntry:
        """Return where a field lies in a member."""
        return self.template.fields[name]

    def keys(self, places: Places) -> torch.Tensor:
        """Return the keys of some samples as text, uint8 [B, 20]."""
        return self.varying.keys(places) if self.is_varying else self.gather.keys(places)

    def places(self, rows: Indices) -> Places:
        """Return where the samples of rows lie, all of which must be present."""
        slots = self.grid.locate(rows)
        if self.cache is not None and not self._was_needed[slots.units].all():
            # Side by side, and not one after the other as the gather comes to them.
            self._was_needed[slots.units] = True
            self.fetch_ahead(rows)
        return self.varying.places(slots) if self.is_varying else self.gather.places(slots)

    def fetch_ahead(self, rows: Indices) -> None:
        """Have the tars of some rows fetched if they are remote, else read from disk."""
        self._num_calls += 1
        for number in np.unique(self.grid.units_of(rows)).tolist():
            if self._num_calls - self._asked.get(number, -_CALLS_ASKED) < _CALLS_ASKED:
                continue
            self._asked[number] = self._num_calls
            entry = self.grid.entries.get(number)
            if entry is None or entry.tar is None:
                continue
            path = self.view.folder.local_path(entry.tar.name)
            if path is not None:
                _advise(path)
            elif self.cache is not None:
                self.cache.fetch_ahead(self.view.folder, entry.tar)

    def largest_bytes(self, num_blocks: int, block_rows: int) -> int:
        """Return what the tars of so many shards hold, if all are as large as the largest."""
        parts = -(-block_rows // self.grid.rows_per_unit)
        return min(num_blocks * parts, self.grid.num_units) * self.grid.largest_tar_bytes

    def _find_tar(self, entry: UnitEntry) -> Path:
        assert entry.tar is not None, "only units with a tar are gathered from"
        path = self.view.folder.local_path(entry.tar.name)
        if path is not None:
            if self._is_verified:
                check_file(path, entry.tar)
            return path
        if self.cache is None:
            raise ConfigError(
                f"cache must be given for a remote store, got none ({self.view.folder.label}); "
                f"pass LoaderOptions(cache=FOLDER), on a fast local disk"
            )
        return self.cache.fetch(self.view.folder, entry.tar)


def share_maps(columns: Sequence[StreamColumn], most: int | None) -> None:
    """Bound the tars that stay mapped, each column's by its share, if all would be too many.

    Args:
        columns: Of all streams.
        most: Tars that may be mapped at once; None is any number.
    """
    num_units = sum(column.grid.num_units for column in columns)
    if most is None or num_units <= most:
        return
    for column in columns:
        column.max_mapped = max(2, most * column.grid.num_units // num_units)


class Stream:
    """The rows a source selects of one run, and their columns."""

    def __init__(
        self,
        place: StreamPlace,
        run: BucketRun,
        selection: Selection,
        columns: Mapping[str, StreamColumn],
        retired: Indices,
    ) -> None:
        """Join the columns.

        Args:
            place: Which stream it is.
            run: Its shards.
            selection: Of the source.
            columns: Tensor columns by name; a row must be in all of them.
            retired: Places in the run of rows that are live no more, ascending.

        Raises:
            ConfigError: No selected row is present in all columns.
        """
        self.place, self.run, self.selection, self.columns = place, run, selection, columns
        self._retired = retired
        if not self.num_present:
            raise ConfigError(
                f"stream must have a selected row that all of {', '.join(columns)} have, got none "
                f"of {selection.num_rows} ({place.name}); encode the columns, or leave the "
                f"bucket out"
            )

    @property
    def bucket(self) -> Bucket:
        """Pixel shape of every sample."""
        return self.run.bucket

    @cached_property
    def num_present(self) -> int:
        """Selected rows that need no substitute; counted without a pass over the rows."""
        grids = [column.grid for column in self.columns.values()]
        spans = join_spans(np.concatenate([grid.spans_without_tar() for grid in grids]))
        points = np.concatenate([self._retired, *(grid.missing for grid in grids)])
        points = points_outside(spans, points)
        bitmap = self.selection.bitmap
        if bitmap is None:
            return self._num - int((spans[:, 1] - spans[:, 0]).sum()) - len(points)
        in_spans = (bitmap.num_before(spans[:, 1]) - bitmap.num_before(spans[:, 0])).sum()
        return self._num - int(in_spans) - int(bitmap.contains(points).sum())

    @property
    def _num(self) -> int:
        return self.selection.num_rows

    def pick(self, drawn: Drawn, *, seed: int) -> Picked:
        """Return the rows behind an order's draw, substitutes where a column lacks one."""
        rows = self.selection.rows_at(drawn.rows)
        lacking = np.flatnonzero(~self._is_present(rows))
        for place in lacking.tolist():
            rows[place] = self._substitute(int(drawn.rows[place]), int(drawn.draws[place]), seed)
        return Picked(rows, drawn.draws, len(lacking))

    def fetch_ahead(self, drawn: Drawn) -> None:
        """Have what a later draw needs fetched, if it is remote."""
        rows = self.selection.rows_at(drawn.rows)
        for column in self.columns.values():
            column.fetch_ahead(rows)

    def keys(self, rows: Indices) -> list[str]:
        """Return the samples' keys."""
        column = next(iter(self.columns.values()))
        return keys_as_text(column.keys(column.places(rows)))

    def numbers(self, rows: Indices) -> Indices:
        """Return the rows' numbers in the plan, which never change."""
        return rows + self.place.first_place

    def shards_and_rows(self, rows: Indices) -> tuple[Indices, Indices]:
        """Return shard and row in the shard."""
        shards, inside = np.divmod(rows, self.run.rows_per_shard)
        return shards + self.run.first_shard, inside

    def _is_present(self, rows: Indices) -> Flags:
        present = np.ones(len(rows), bool)
        for column in self.columns.values():
            present &= column.grid.is_present(rows)
        if len(self._retired):
            present &= ~np.isin(rows, self._retired)
        return present

    def _substitute(self, index: int, draw: int, seed: int) -> Any:
        # Keyed by the draw as well, so that no sample stands in for another for ever.
        for attempt in range(_MAX_TRIES):
            number = keyed_uint64(seed, "substitute", self.place.name, index, draw, attempt)
            rows = self.selection.rows_at(np.array([number % self._num]))
            if self._is_present(rows)[0]:
                return rows[0]
        for offset in range(1, self._num):
            rows = self.selection.rows_at(np.array([(index + offset) % self._num]))
            if self._is_present(rows)[0]:
                return rows[0]
        raise AssertionError("a stream without a present row is refused")
