"""Copies windows of latent frames out of the tars of clips of many lengths.

A sample is stored channel by channel, so a window of it is one stretch of bytes per channel:
``N`` frames at ``t0`` of each. All stretches of a batch are rows of one overlapping view of the
mapped tars, as whole samples are in ``gather``; nothing else of the clips is read.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from latentcache.loader.gather.address_range import AddressRangeError
from latentcache.loader.gather.unit_gather import (
    INTEGERS,
    FindTar,
    Gather,
    Places,
    RangeGather,
    UnitGather,
)
from latentcache.loader.index.joined_index import JoinedGrid
from latentcache.loader.index.sample_layout import SampleLayout
from latentcache.loader.index.unit_index import Slots
from latentcache.loader.order.feistel import Indices
from latentcache.store.format import BLOCK_BYTES, KEY_DIGITS, TensorEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowField:
    """One field of clips of many lengths, cut to a window.

    Attributes:
        entry: What of it is in a batch.
        outer: Stretches of bytes per sample: values before the axis of frames.
        frame_bytes: Of one frame in a stretch.
        starts: Where the field begins in a sample of each run, from its tar header.
        num_frames: Of each run's samples.
    """

    entry: TensorEntry
    outer: int
    frame_bytes: int
    starts: Indices
    num_frames: Indices

    @property
    def window_bytes(self) -> int:
        """Of one stretch."""
        return (self.entry.stop - self.entry.start) // self.outer

    @property
    def num_taken(self) -> int:
        """Frames of a window."""
        return self.window_bytes // self.frame_bytes

    def outer_of(self, entry: TensorEntry) -> Indices:
        """Return which stretches an entry asks for, which may be some of the channels only."""
        return np.arange(entry.start // self.window_bytes, entry.stop // self.window_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLayout:
    """How the samples of several runs are laid out.

    Attributes:
        templates: Of each run; None where it has no sample.
        fields: Those that are cut to a window; others have one shape in all runs.
    """

    templates: Sequence[SampleLayout | None]
    fields: Mapping[str, WindowField]

    @property
    def any_template(self) -> SampleLayout:
        """The layout of the first run that has samples."""
        return next(one for one in self.templates if one is not None)


def open_window_gather(
    grid: JoinedGrid, layout: WindowLayout, find_tar: FindTar, *, max_mapped: int | None = None
) -> Gather:
    """Return the fastest gather that this system has for windows.

    Args:
        grid: The units.
        layout: Of their samples.
        find_tar: Says where a tar lies.
        max_mapped: Tars that may stay mapped between batches; None is all.
    """
    try:
        return WindowRangeGather(grid, layout, find_tar, max_mapped=max_mapped)
    except AddressRangeError:
        return WindowUnitGather(grid, layout, find_tar, max_mapped=max_mapped)


class WindowRangeGather(RangeGather):
    """All tars in one address range, and windows as rows of one view of it."""

    def __init__(
        self,
        grid: JoinedGrid,
        layout: WindowLayout,
        find_tar: FindTar,
        *,
        max_mapped: int | None = None,
    ) -> None:
        """Reserve the addresses.

        Raises:
            AddressRangeError: The system has none.
        """
        super().__init__(grid, layout.any_template, find_tar, max_mapped=max_mapped)
        self._joined, self._runs = grid, layout
        self._strides = _strides(layout)
        self._fine_views: dict[str, tuple[torch.Tensor, int]] = {}

    def places(self, slots: Slots) -> Places:
        """Return where samples lie; touches none of them."""
        strides = self._strides[self._joined.runs_of_units(slots.units)]
        starts = slots.units * self._pitch + slots.slots * strides
        return Places(slots.units, torch.from_numpy(starts // BLOCK_BYTES))

    def field(
        self, places: Places, entry: TensorEntry, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return one field of some windows, [B, *shape]: in ``out``, else in a fresh tensor."""
        field = self._runs.fields.get(entry.name)
        if field is None:
            return super().field(places, entry, out)
        assert places.starts is not None, "windows begin somewhere"
        runs = self._joined.runs_of_units(places.units)
        firsts = places.at.numpy() * BLOCK_BYTES + field.starts[runs]
        firsts = firsts + places.starts.numpy() * field.frame_bytes
        steps = field.num_frames[runs] * field.frame_bytes
        at = firsts[:, None] + steps[:, None] * field.outer_of(entry)
        view, grain = self._fine_views.get(entry.name) or self._fine_view(field)
        rows = torch.from_numpy(at.reshape(-1) // grain)
        found = self._copied(places.units, view, rows, out)
        if out is not None:
            return out
        return found.view(getattr(torch, entry.dtype)).reshape(-1, *entry.shape)

    def _layout(self, number: int) -> SampleLayout:
        """Return how the samples of a unit are laid out."""
        return _layout_of(self._joined, self._runs, number)

    def _fine_view(self, field: WindowField) -> tuple[torch.Tensor, int]:
        """Return every stretch of a window's length as a row, and how many bytes lie between."""
        num_bytes = field.window_bytes
        grain = math.gcd(8, field.frame_bytes, *(field.starts % 8).tolist())
        view = torch.as_strided(
            self._bytes.view(INTEGERS[grain]),
            ((self._range.num_bytes - num_bytes) // grain + 1, num_bytes // grain),
            (1, 1),
        )
        self._fine_views[field.entry.name] = view, grain
        return view, grain


class WindowUnitGather(UnitGather):
    """One view per tar, and one copy per window, for systems without address ranges."""

    def __init__(
        self,
        grid: JoinedGrid,
        layout: WindowLayout,
        find_tar: FindTar,
        *,
        max_mapped: int | None = None,
    ) -> None:
        super().__init__(grid, layout.any_template, find_tar, max_mapped=max_mapped)
        self._joined, self._runs = grid, layout
        self._strides = _strides(layout)

    def field(
        self, places: Places, entry: TensorEntry, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return one field of some windows, [B, *shape]: in ``out``, else in a fresh tensor."""
        dtype, starts = getattr(torch, entry.dtype), places.starts
        if out is None:
            out = torch.empty((len(places), *entry.shape), dtype=dtype)
        field = self._runs.fields.get(entry.name)
        for place, number in enumerate(places.units.tolist()):
            sample = self._sample(number, int(places.at[place]))
            if field is None:
                start = self._sample_layout.first_payload + entry.start
                values = sample[start : start + entry.stop - entry.start]
                out[place] = values.view(dtype).reshape(entry.shape)
                continue
            assert starts is not None, "windows begin somewhere"
            run = int(self._joined.runs_of_units(places.units[place : place + 1])[0])
            start, num_frames = int(field.starts[run]), int(field.num_frames[run])
            length = field.outer * num_frames * field.frame_bytes
            frames = sample[start : start + length].reshape(field.outer, num_frames, -1)
            first = int(starts[place])
            window = frames[field.outer_of(entry), first : first + field.num_taken].contiguous()
            out[place] = window.view(dtype).reshape(entry.shape)
        return out

    def keys(self, places: Places) -> torch.Tensor:
        """Return the keys of some samples as text, uint8 [B, 20], from their tar headers."""
        found = [
            self._sample(number, slot)[:KEY_DIGITS]
            for number, slot in zip(places.units.tolist(), places.at.tolist(), strict=True)
        ]
        return torch.stack(found)

    def _sample(self, number: int, slot: int) -> torch.Tensor:
        """Return a sample's bytes, from its tar header to the end of the tar."""
        run = self._joined.runs_of_units(np.array([number]))
        return self._tar(number)[int(self._strides[run][0]) * slot :]

    def _layout(self, number: int) -> SampleLayout:
        """Return how the samples of a unit are laid out."""
        return _layout_of(self._joined, self._runs, number)


def _strides(layout: WindowLayout) -> Indices:
    return np.array([one.stride if one else 0 for one in layout.templates], np.int64)


def _layout_of(grid: JoinedGrid, layout: WindowLayout, number: int) -> SampleLayout:
    found = layout.templates[int(grid.runs_of_units(np.array([number]))[0])]
    assert found is not None, "a unit with a tar has samples"
    return found
