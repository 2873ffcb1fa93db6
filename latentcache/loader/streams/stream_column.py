"""One column of a stream: where its samples lie, and how to copy them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.units import BucketRun
from latentcache.loader.cache.shard_cache import ShardCache, check_file
from latentcache.loader.gather.ragged import VaryingGather, may_vary, varies
from latentcache.loader.gather.unit_gather import Gather, Places, open_gather
from latentcache.loader.index.sample_layout import SampleLayout, read_template
from latentcache.loader.index.unit_index import ColumnUnits, Grid
from latentcache.loader.order.feistel import Indices
from latentcache.store import ColumnView, UnitEntry
from latentcache.store.format import TensorEntry

_CALLS_ASKED = 64
"""Batches for which a shard that was asked for is not asked for again."""


@dataclass(frozen=True, slots=True)
class Access:
    """How tars are had.

    Attributes:
        cache: Holds those of remote stores.
        is_verified: Local ones are compared with their checksums when they are first needed.
    """

    cache: ShardCache | None
    is_verified: bool = False


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
        sample_layout: Layout of a sample.
        cache: Holds the tars of a remote store; None where the store is local.
        is_varying: Samples differ in size: they are read one by one.
        max_mapped: Tars that may stay mapped, None for all; set before the first batch.
    """

    def __init__(
        self, view: ColumnView, grid: Grid, sample_layout: SampleLayout, access: Access
    ) -> None:
        """Join what is known of the column; reads nothing.

        Args:
            view: The column in its snapshot.
            grid: Its units in this stream.
            sample_layout: Layout of a sample.
            access: How its tars are had.
        """
        self.view, self.cache = view, None if view.folder.is_local else access.cache
        self._is_verified = access.is_verified
        self._asked = np.full(grid.num_units, -_CALLS_ASKED, np.int64)
        self._num_calls = 0
        self.grid, self.sample_layout, self.is_varying = grid, sample_layout, False
        self._was_needed = np.zeros(grid.num_units, bool)
        self.max_mapped: int | None = None

    @classmethod
    def of_run(cls, units: ColumnUnits, run: BucketRun, access: Access) -> Self:
        """Return the column in one bucket.

        Args:
            units: Of the column, in all buckets.
            run: The bucket's shards.
            access: How its tars are had.

        Raises:
            ConfigError: The column has no sample in this bucket.
        """
        view, grid = units.view, units.grid(run)
        sample_layout = read_template(view.folder, grid.entries.values())
        if sample_layout is None:
            raise ConfigError(
                f"column {view.name} must have samples in bucket {run.bucket}, got none; encode "
                f"it, or leave the bucket out with filter='bucket != \"{run.bucket}\"'"
            )
        found = cls(view, grid, sample_layout, access)
        # A text is padded to its batch, whether or not those of a bucket happen to be as long.
        found.is_varying = view.record.spec.get("modality") == "text" or (
            may_vary(view) and varies(view.folder, grid, stride=sample_layout.stride)
        )
        return found

    @cached_property
    def gather(self) -> Gather:
        """What copies samples of one size; maps nothing before the first batch."""
        return open_gather(
            self.grid, self.sample_layout, self._find_tar, max_mapped=self._most_mapped()
        )

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

    @property
    def fields(self) -> Mapping[str, TensorEntry]:
        """What a sample has: by name, where it lies and of which shape it is."""
        return self.sample_layout.fields

    def field(self, name: str) -> TensorEntry:
        """Return where a field lies in a sample."""
        return self.fields[name]

    def keys(self, places: Places) -> torch.Tensor:
        """Return the keys of some samples as text, uint8 [B, 20]."""
        return self.varying.keys(places) if self.is_varying else self.gather.keys(places)

    def places(self, rows: Indices, starts: Indices | None = None) -> Places:
        """Return where the samples of rows lie, all of which must be present.

        Args:
            rows: Places in the stream.
            starts: First latent frame of each row's window; None for all frames.
        """
        slots = self.grid.locate(rows)
        if self.cache is not None and not self._was_needed[slots.units].all():
            # Side by side, and not one after the other as the gather comes to them.
            self._was_needed[slots.units] = True
            self.fetch_ahead(rows)
        places = self.varying.places(slots) if self.is_varying else self.gather.places(slots)
        return places if starts is None else replace(places, starts=torch.from_numpy(starts))

    def fetch_ahead(self, rows: Indices) -> None:
        """Have the tars of some rows fetched if they are remote, else read from disk."""
        self._num_calls += 1
        units = self.grid.units_of(rows)
        is_due = self._asked[units] <= self._num_calls - _CALLS_ASKED
        if not is_due.any():
            return
        self._asked[units[is_due]] = self._num_calls
        self._ask_units(units[is_due])

    def ask(self, rows: Indices) -> None:
        """Have the tars of some rows fetched now, or kept if they are there."""
        self._ask_units(self.grid.units_of(rows))

    def _ask_units(self, units: Indices) -> None:
        for number in np.unique(units).tolist():
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
