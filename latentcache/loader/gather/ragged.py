"""Columns whose samples vary in size within a bucket, such as texts embedded unpadded.

Such a batch is a list of tensors, one per sample: padding, or packing for attention over
varying lengths, is the model's business. Samples are read one by one, which is slower than a
gather and right for what is a few kilobytes a sample.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch

from latentcache.loader.gather.buffers import Octets
from latentcache.loader.gather.unit_gather import FindTar, Places, map_tar, whole_file
from latentcache.loader.index.column_units import RunUnits
from latentcache.loader.index.unit_index import Slots, UnitIndex
from latentcache.storage import Folder
from latentcache.store import ColumnView
from latentcache.store.format import (
    BLOCK_BYTES,
    END_OF_ARCHIVE,
    KEY_DIGITS,
    TensorEntry,
    read_header,
)
from latentcache.store.units import Array, member_ranges, read_unit_meta

_MAX_OPEN = 1024


class Payload(NamedTuple):
    """A field of one sample as it lies in its tar.

    Attributes:
        octets: Its bytes; a view of a file's map, at any address.
        entry: Its dtype and shape.
    """

    octets: Octets
    entry: TensorEntry


@dataclass(frozen=True, slots=True)
class _Unit:
    tar: Octets
    ranges: Array  # int64 [present, 2]: start and size of each member's tensor file


def may_vary(view: ColumnView) -> bool:
    """Return whether samples of one pixel shape may differ in size.

    Pixels decide the size of what has channels, frames, height and width alone; media of a role
    have pixels of their own.
    """
    if "role" in view.record.transform:
        return True
    return any(set(field.axes) - set("CTHW") for field in view.record.fields)


def varies(folder: Folder, units: RunUnits, *, stride: int) -> bool:
    """Return whether a bucket's samples differ in size: by the tars' sizes, and one meta.

    Args:
        folder: The store.
        units: The bucket's.
        stride: Bytes from one member to the next, if all were like the first.
    """
    expected = units.num_present * stride + len(END_OF_ARCHIVE)
    if (units.tar_bytes[units.num_present > 0] != expected[units.num_present > 0]).any():
        return True
    first = next(entry for entry in units.entries.values() if entry.tar is not None)
    return read_unit_meta(folder, first).offsets is not None


class VaryingGather:
    """Reads samples of any size; safe to be called by several threads."""

    def __init__(
        self, folder: Folder, index: UnitIndex, find_tar: FindTar, *, max_mapped: int | None = None
    ) -> None:
        self._folder, self._index, self._find_tar = folder, index, find_tar
        self._max_open = min(_MAX_OPEN, max_mapped or _MAX_OPEN)
        self._units: OrderedDict[int, _Unit] = OrderedDict()
        self._headers: dict[bytes, dict[str, TensorEntry]] = {}
        self._lock = Lock()

    def places(self, slots: Slots) -> Places:
        """Return where samples lie; touches none of them."""
        return Places(slots.units, torch.from_numpy(slots.slots))

    def samples(self, places: Places, name: str) -> list[torch.Tensor]:
        """Return one field of some samples as fresh tensors, in order."""
        return [_copied(each[name]) for each in self.payloads(places, [name])]

    def payloads(self, places: Places, names: Sequence[str]) -> list[dict[str, Payload]]:
        """Return some fields of some samples, in order; copies nothing."""
        return [self._payloads(*place, names) for place in self._each(places)]

    def shapes(self, number: int, name: str) -> tuple[Array, list[tuple[int, ...]]]:
        """Return a number for each sample of a unit, and the shape of a field that each stands for.

        Reads a few hundred bytes a sample, all at once: samples of one shape have equal headers.
        """
        unit = self._unit(number)
        tar, starts = unit.tar, unit.ranges[:, 0]
        words = tar[starts[:, None] + np.arange(8)]
        lengths = 8 + np.ascontiguousarray(words).view("<u8")[:, 0].astype(np.int64)
        codes: Array = np.zeros(len(starts), np.int64)
        found: list[tuple[int, ...]] = []
        for length in np.unique(lengths).tolist():
            mine = np.flatnonzero(lengths == length)
            texts = tar[starts[mine][:, None] + np.arange(length)]
            headers, which = np.unique(texts, axis=0, return_inverse=True)
            codes[mine] = which.reshape(-1) + len(found)
            for header in headers:
                entries = read_header(memoryview(header.tobytes()), where=str(number)).entries
                found.append(next(entry.shape for entry in entries if entry.name == name))
        return codes, found

    def keys(self, places: Places) -> torch.Tensor:
        """Return the keys of some samples as text, uint8 [B, 20], from their tar headers."""
        found = np.empty((len(places), KEY_DIGITS), np.uint8)
        for index, (number, slot) in enumerate(self._each(places)):
            unit = self._unit(number)
            start = int(unit.ranges[slot, 0]) - BLOCK_BYTES
            found[index] = unit.tar[start : start + KEY_DIGITS]
        return torch.from_numpy(found)

    def _each(self, places: Places) -> list[tuple[int, int]]:
        return list(zip(places.units.tolist(), places.at.tolist(), strict=True))

    def _payloads(self, number: int, slot: int, names: Sequence[str]) -> dict[str, Payload]:
        unit = self._unit(number)
        start, size = unit.ranges[slot].tolist()
        member = unit.tar[start : start + size]
        length = 8 + int.from_bytes(member[:8].tobytes(), "little")
        header = member[:length].tobytes()
        fields = self._headers.get(header)
        if fields is None:  # lengths come again: a header is parsed once for each
            entries = read_header(memoryview(header), where=f"{number}/{slot}").entries
            fields = self._headers[header] = {entry.name: entry for entry in entries}
        found = {}
        for name in names:
            entry = fields[name]
            found[name] = Payload(member[length + entry.start : length + entry.stop], entry)
        return found

    def _unit(self, number: int) -> _Unit:
        with self._lock:
            found = self._units.get(number)
            if found is None:
                found = self._units[number] = self._open(number)
            self._units.move_to_end(number)
            if len(self._units) > self._max_open:
                self._units.popitem(last=False)  # who still reads it keeps it mapped
            return found

    def _open(self, number: int) -> _Unit:
        entry = self._index.entries[number]
        assert entry.tar is not None, "rows without a sample are never gathered"
        size_bytes = entry.tar.size_bytes
        tar = map_tar(entry, self._find_tar, lambda path: whole_file(path, size_bytes))
        ranges = np.asarray(member_ranges(read_unit_meta(self._folder, entry)))
        return _Unit(tar.numpy(), ranges)


def _copied(payload: Payload) -> torch.Tensor:
    octets, entry = payload
    return torch.from_numpy(octets.copy()).view(getattr(torch, entry.dtype)).reshape(entry.shape)
