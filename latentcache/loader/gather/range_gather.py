"""One batch, one ``index_select``: all tars of a bucket seen as one overlapping strided view.

Tars consist of 512-byte blocks, so every payload starts at a multiple of 512 plus one
constant. With the tars mapped into one address range, the view whose row ``i`` is the
payload-sized stretch at ``512 * i + constant`` holds every sample as one of its rows.
Measured against a gather from an in-memory array on one thread (2026-11-22, 2 busy cores):
1.0 over 13 shards and 0.95 over 1,563, where a gather per shard falls to 0.20.

A window of a clip is one stretch of bytes per channel: rows of a finer view of the same range.
"""

import ctypes
import errno
import logging
import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from latentcache.loader.gather.address_range import (
    LARGE_PAGE_BYTES,
    AddressRange,
    AddressRangeError,
    memory_bytes,
)
from latentcache.loader.gather.copying import copy_rows
from latentcache.loader.gather.unit_gather import FindTar, Gather, Places, UnitGather, map_tar
from latentcache.loader.index.sample_layout import StreamLayout
from latentcache.loader.index.unit_index import UnitIndex
from latentcache.loader.order.feistel import Indices
from latentcache.store.format import BLOCK_BYTES, KEY_DIGITS, TensorEntry

logger = logging.getLogger(__name__)

_INTEGERS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}
"""Types that bytes are copied as, by their size."""


def open_gather(
    index: UnitIndex, layout: StreamLayout, find_tar: FindTar, *, max_mapped: int | None = None
) -> Gather:
    """Return the fastest gather that this system has; arguments are those of ``Gather``."""
    try:
        return RangeGather(index, layout, find_tar, max_mapped=max_mapped)
    except AddressRangeError as error:
        logger.info("no address range for %s (%s); one view per shard", index.label, error)
        return UnitGather(index, layout, find_tar, max_mapped=max_mapped)


class RangeGather(Gather):
    """All tars in one address range; each is mapped when a batch first needs it."""

    def __init__(
        self,
        index: UnitIndex,
        layout: StreamLayout,
        find_tar: FindTar,
        *,
        max_mapped: int | None = None,
    ) -> None:
        """Reserve the addresses; arguments are those of ``Gather``.

        Raises:
            AddressRangeError: The system has none.
        """
        super().__init__(index, layout, find_tar, max_mapped=max_mapped)
        self._pitch = -(-index.largest_tar_bytes // LARGE_PAGE_BYTES) * LARGE_PAGE_BYTES
        self._range = AddressRange(index.num_units * self._pitch)
        buffer = (ctypes.c_uint8 * self._range.num_bytes).from_address(self._range.address)
        self._bytes = torch.frombuffer(buffer, dtype=torch.uint8)
        self._views: dict[tuple[int, int, int], torch.Tensor] = {}
        self._only_starts = {name: one.only_start for name, one in layout.fields.items()}
        self._is_mapped = np.zeros(index.num_units, bool)
        self._last_used = np.zeros(index.num_units, np.int64)
        self._num_gathers = self._num_mapped = 0
        self._num_tars = index.num_units
        # Measured 2026-11-22: a tenth of a warm batch's time. But of a store too large to be
        # kept, a row of 8 KiB would read 2 MiB each time.
        self._in_large_pages = index.num_units * index.largest_tar_bytes <= memory_bytes() // 2

    def field(
        self, places: Places, entry: TensorEntry, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return one field of some samples, [B, *shape]: in ``out``, else in a fresh tensor."""
        only_start = self._only_starts[entry.name]
        if only_start is not None:
            start, num_bytes = only_start + entry.start, entry.stop - entry.start
            view, at = self._view(start, num_bytes, BLOCK_BYTES), places.at
        else:
            begins, num_bytes = self._stretches(places, entry)
            grain = self._layout.fields[entry.name].grain(entry)
            view = self._view(0, num_bytes, grain)
            at = torch.from_numpy(begins.reshape(-1) // grain)
        found = self._copied(places.units, view, at, out)
        if out is not None:
            return out
        return found.view(getattr(torch, entry.dtype)).reshape(-1, *entry.shape)

    def keys(self, places: Places) -> torch.Tensor:
        """Return the keys of some samples as text, uint8 [B, 20], from their tar headers."""
        view = self._view(0, KEY_DIGITS, BLOCK_BYTES)
        return self._copied(places.units, view, places.at, None).view(torch.uint8)

    def _copied(
        self, units: Indices, view: torch.Tensor, at: torch.Tensor, out: torch.Tensor | None
    ) -> torch.Tensor:
        """Return rows of a view of the tars of some units, mapped meanwhile."""
        # The copy itself is not checked: a place where no tar is mapped kills the process. So
        # where tars are unmapped again, no other thread may do that meanwhile.
        with self._lock if self._max_mapped is not None else nullcontext():
            self._map(units)
            found = copy_rows(view, at, out)
            if self._max_mapped is not None:
                self._unmap_oldest(units, self._max_mapped)
        return found

    def _view(self, start: int, num_bytes: int, pitch: int) -> torch.Tensor:
        """Return a view whose row ``i`` is so many bytes at ``start + i * pitch``."""
        known = self._views.get((start, num_bytes, pitch))
        if known is None:
            size = math.gcd(start, num_bytes, pitch, 8)
            num_rows = (self._range.num_bytes - start - num_bytes) // pitch + 1
            known = self._views[start, num_bytes, pitch] = torch.as_strided(
                self._bytes.view(_INTEGERS[size]),
                (num_rows, num_bytes // size),
                (pitch // size, 1),
                start // size,
            )
        return known

    def _map(self, units: Indices) -> None:
        if self._num_mapped == self._num_tars:
            return
        is_mapped = self._is_mapped[units]
        if is_mapped.all():
            return
        with nullcontext() if self._max_mapped is not None else self._lock:
            for number in np.unique(units[~is_mapped]).tolist():
                if not self._is_mapped[number]:  # another thread may have been here
                    self._map_one(number)

    def _map_one(self, number: int) -> None:
        entry = self._index.entries[number]
        assert entry.tar is not None, "rows without a sample are never gathered"
        template = self._template(number)
        template.check_size(entry)
        offset, size_bytes = number * self._pitch, entry.tar.size_bytes
        try:
            map_tar(entry, self._find_tar, lambda path: self._put(path, offset, size_bytes))
        except AddressRangeError as error:
            raise _too_many_maps(error, self._num_mapped) from None
        header = self._bytes[offset + BLOCK_BYTES : offset + template.first_payload]
        template.check_header(header.numpy().tobytes(), entry)
        self._is_mapped[number] = True
        self._num_mapped += 1

    def _put(self, path: Path, offset: int, size_bytes: int) -> None:
        # As long as the pitch, past the tar's end: a gap up to the next tar would be one more
        # of the maps that the system counts.
        self._range.put(
            path, offset, size_bytes, length=self._pitch, in_large_pages=self._in_large_pages
        )

    def _unmap_oldest(self, used: Indices, most: int) -> None:
        self._num_gathers += 1
        self._last_used[used] = self._num_gathers
        if self._num_mapped <= most:
            return
        mapped = np.flatnonzero(self._is_mapped)
        # An eighth at once, where there are many: sorting them costs more than a batch.
        kept = most - most // 8
        for number in mapped[np.argsort(self._last_used[mapped], kind="stable")][:-kept].tolist():
            self._is_mapped[number] = False
            self._num_mapped -= 1
            self._range.take_away(number * self._pitch, self._pitch)


def _too_many_maps(error: AddressRangeError, num_mapped: int) -> OSError:
    if error.errno != errno.ENOMEM:
        return error
    return OSError(
        errno.ENOMEM,
        f"vm.max_map_count must allow one map for each tar in use, got no room for one more beside "
        f"{num_mapped} of this bucket; raise it, or build larger shards",
    )
