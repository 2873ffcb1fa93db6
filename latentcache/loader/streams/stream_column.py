"""One column of a stream: where its samples lie, and how to copy them.

Of clips of many lengths a window of latent frames is read. A column with other axes, or with one
latent frame whatever the clip's length (a conditioning first frame), is read whole beside it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.core.units import BucketRun
from latentcache.loader.cache.shard_cache import ShardCache, check_file
from latentcache.loader.gather.ragged import VaryingGather, may_vary, varies
from latentcache.loader.gather.range_gather import open_gather
from latentcache.loader.gather.unit_gather import Gather, Places
from latentcache.loader.index.column_units import ColumnUnits, Flags, RunUnits
from latentcache.loader.index.sample_layout import (
    SampleLayout,
    StreamField,
    StreamLayout,
    field_starts,
    read_template,
    whole_field,
)
from latentcache.loader.index.unit_index import UnitIndex
from latentcache.loader.order.feistel import Indices
from latentcache.storage import map_ahead
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


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRule:
    """What of which clips is read.

    Attributes:
        num_frames: Latent frames of a window.
        num_latents: Of the clips of each run, in the column that is trained on.
    """

    num_frames: int
    num_latents: Sequence[int]


class StreamColumn:
    """One column of a stream: where its samples lie and how to copy them.

    Attributes:
        view: The column in its snapshot.
        index: Its units in the stream.
        cache: Holds the tars of a remote store; None where the store is local.
        is_varying: Samples differ in size: they are read one by one.
        max_mapped: Tars that may stay mapped, None for all; set before the first batch.
    """

    def __init__(
        self,
        units: ColumnUnits,
        runs: Sequence[BucketRun],
        access: Access,
        window: WindowRule | None = None,
    ) -> None:
        """Read how samples are laid out in each run.

        Args:
            units: Of the column, in all buckets.
            runs: The stream's shards.
            access: How its tars are had.
            window: What of each sample is read; None is all of it, and then there is one run.

        Raises:
            ConfigError: The column has no sample there, or latent frames of its own.
        """
        self.view, self.cache = units.view, None if units.view.folder.is_local else access.cache
        self._is_verified = access.is_verified
        label = f"windows of {window.num_frames} latent frames" if window else str(runs[0].bucket)
        self.index = UnitIndex(label, [units.of_run(run) for run in runs])
        templates = self._read_templates()
        first = next((one for one in templates if one is not None), None)
        if first is None:
            raise _no_samples(units.view.name, label, is_bucket=window is None)
        self.is_varying = self._varies(templates, first)
        self._layout = StreamLayout.whole(templates)
        if window is not None and not self.is_varying:
            self._layout = _windowed(units.view, templates, window)
        self._asked = np.full(self.index.num_units, -_CALLS_ASKED, np.int64)
        self._num_calls = 0
        self._was_needed = np.zeros(self.index.num_units, bool)
        self.max_mapped: int | None = None

    @cached_property
    def absent(self) -> Indices:
        """Rows that a batch has though they lack a medium of the column's role; none of windows."""
        is_windowed = any(not field.is_whole for field in self._layout.fields.values())
        return self.index.absent[:0] if is_windowed else self.index.absent

    def is_absent(self, rows: Indices) -> Flags:
        """Return which rows are blank in a batch."""
        return np.isin(rows, self.absent) if len(self.absent) else np.zeros(len(rows), bool)

    def _read_templates(self) -> tuple[SampleLayout | None, ...]:
        def read(run: RunUnits) -> SampleLayout | None:
            return read_template(self.view.folder, run.entries.values())

        runs = self.index.runs
        # Threads for one would cost more than the reading: a store may have many buckets.
        return tuple(map_ahead(read, runs)) if len(runs) > 1 else (read(runs[0]),)

    def _varies(self, templates: Sequence[SampleLayout | None], first: SampleLayout) -> bool:
        # A text is padded to its batch, whether or not those of a bucket happen to be as long.
        if self.view.record.spec.get("modality") == "text":
            return True
        if self.view.record.transform.get("role", {}).get("geometry") == "own":
            return True
        return may_vary(self.view) and any(
            one is not None
            and (one.fields != first.fields or varies(self.view.folder, run, stride=one.stride))
            for run, one in zip(self.index.runs, templates, strict=True)
        )

    @cached_property
    def gather(self) -> Gather:
        """What copies samples of one size; maps nothing before the first batch."""
        most = self._most_mapped()
        return open_gather(self.index, self._layout, self._find_tar, max_mapped=most)

    @cached_property
    def varying(self) -> VaryingGather:
        """What reads samples that vary in size."""
        folder, most = self.view.folder, self._most_mapped()
        return VaryingGather(folder, self.index, self._find_tar, max_mapped=most)

    def _most_mapped(self) -> int | None:
        if self.cache is None:
            return self.max_mapped
        # A tar that is mapped keeps its disk space when the cache throws it out, so only so
        # many stay mapped as the cache could hold beside other streams'.
        fitting = max(2, self.cache.max_bytes // (4 * self.index.largest_tar_bytes))
        return fitting if self.max_mapped is None else min(self.max_mapped, fitting)

    @cached_property
    def fields(self) -> Mapping[str, TensorEntry]:
        """What of a sample is in a batch: by name, and of which shape it is."""
        return {name: each.entry for name, each in self._layout.fields.items()}

    def field(self, name: str) -> TensorEntry:
        """Return what of a field is in a batch."""
        return self._layout.fields[name].entry

    def fields_of(self, run: int) -> Mapping[str, TensorEntry]:
        """Return what whole samples of a run have."""
        found = self._layout.templates[run]
        assert found is not None, "rows without a sample are never read"
        return found.fields

    def keys(self, places: Places) -> torch.Tensor:
        """Return the keys of some samples as text, uint8 [B, 20]."""
        return self.varying.keys(places) if self.is_varying else self.gather.keys(places)

    def places(self, rows: Indices, starts: Indices | None = None) -> Places:
        """Return where the samples of rows lie, all of which must be present or absent.

        Args:
            rows: Places in the stream; another row's sample is taken where there is none, and
                blanked when it was read.
            starts: First latent frame of each row's window; None for all frames.
        """
        if len(self.absent):
            rows = np.where(self.is_absent(rows), self.index.first_present, rows)
        slots = self.index.locate(rows)
        if self.cache is not None and not self._was_needed[slots.units].all():
            # Side by side, and not one after the other as the gather comes to them.
            self._was_needed[slots.units] = True
            self.fetch_ahead(rows)
        places = self.varying.places(slots) if self.is_varying else self.gather.places(slots)
        return places if starts is None else replace(places, starts=torch.from_numpy(starts))

    def fetch_ahead(self, rows: Indices) -> None:
        """Have the tars of some rows fetched if they are remote, else read from disk."""
        self._num_calls += 1
        units = self.index.units_of(rows)
        is_due = self._asked[units] <= self._num_calls - _CALLS_ASKED
        if not is_due.any():
            return
        self._asked[units[is_due]] = self._num_calls
        self._ask_units(units[is_due])

    def ask(self, rows: Indices) -> None:
        """Have the tars of some rows fetched now, or kept if they are there."""
        self._ask_units(self.index.units_of(rows))

    def _ask_units(self, units: Indices) -> None:
        for number in np.unique(units).tolist():
            entry = self.index.entries.get(number)
            if entry is None or entry.tar is None:
                continue
            path = self.view.folder.local_path(entry.tar.name)
            if path is not None:
                _advise(path)
            elif self.cache is not None:
                self.cache.fetch_ahead(self.view.folder, entry.tar)

    def largest_bytes(self, num_blocks: int, block_rows: int) -> int:
        """Return what the tars of so many shards hold, if all are as large as the largest."""
        parts = -(-block_rows // self.index.rows_per_unit)
        return min(num_blocks * parts, self.index.num_units) * self.index.largest_tar_bytes

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
    num_units = sum(column.index.num_units for column in columns)
    if most is None or num_units <= most:
        return
    for column in columns:
        column.max_mapped = max(2, most * column.index.num_units // num_units)


def _no_samples(name: str, label: str, *, is_bucket: bool) -> ConfigError:
    if is_bucket:
        return ConfigError(
            f"column {name} must have samples in bucket {label}, got none; encode it, or leave the "
            f"bucket out with filter='bucket != \"{label}\"'"
        )
    return ConfigError(f"column {name} must have samples to take {label} of, got none; encode it")


def _windowed(
    view: ColumnView, templates: Sequence[SampleLayout | None], window: WindowRule
) -> StreamLayout:
    """Return the layout of windows: of fields with the latent frames of what is trained on.

    Raises:
        ConfigError: Another field differs from run to run.
    """
    fields = {}
    for field in view.record.fields:
        found = _window_field(field, templates, window)
        if found is None:
            _check_one_shape(view.name, field.name, templates)
            found = whole_field(templates, field.name)
        fields[field.name] = found
    return StreamLayout(templates=templates, fields=fields)


def _window_field(
    field: Field, templates: Sequence[SampleLayout | None], window: WindowRule
) -> StreamField | None:
    """Return a window of a field, or None if it has not the latent frames to take it of."""
    if "T" not in field.axes or "T" in field.broadcast:
        return None
    axis, name = field.axes.index("T"), field.name
    pairs = zip(templates, window.num_latents, strict=True)
    if not all(one is None or one.fields[name].shape[axis] == count for one, count in pairs):
        return None
    entry = next(one.fields[name] for one in templates if one is not None)
    outer = prod(entry.shape[:axis])
    frame_bytes = (entry.stop - entry.start) // (outer * entry.shape[axis])
    shape = (*entry.shape[:axis], window.num_frames, *entry.shape[axis + 1 :])
    return StreamField(
        entry=replace(entry, shape=shape, start=0, stop=outer * window.num_frames * frame_bytes),
        starts=field_starts(templates, name),
        outer=outer,
        frame_bytes=frame_bytes,
        num_frames=np.array(window.num_latents, np.int64),
    )


def _check_one_shape(name: str, field: str, templates: Sequence[SampleLayout | None]) -> None:
    shapes = list(dict.fromkeys(one.fields[field].shape for one in templates if one is not None))
    if len(shapes) > 1:
        raise ConfigError(
            f"column {name} must have the latent frames of the column that is trained on, or "
            f"one shape for clips of any length, to be read in windows, got {list(shapes[0])} and "
            f"{list(shapes[1])}; leave it out"
        )
