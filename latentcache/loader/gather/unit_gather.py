"""Copies samples, or windows of them, out of the tars of one stream: what all gathers share.

``UnitGather`` views one tar after the other, for systems without address ranges; see
``range_gather`` for the faster one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
import torch

from latentcache.core.errors import ShardCorruptError
from latentcache.loader.gather.address_range import wrong_size
from latentcache.loader.index.sample_layout import SampleLayout, StreamLayout
from latentcache.loader.index.unit_index import Slots, UnitIndex
from latentcache.loader.order.feistel import Indices
from latentcache.store import UnitEntry
from latentcache.store.format import BLOCK_BYTES, KEY_DIGITS, TensorEntry

FindTar = Callable[[UnitEntry], Path]
"""Where a unit's tar lies on this machine; may fetch it first."""

_MAX_FINDS = 20
"""Times a tar may be thrown out of the cache between its arrival and its mapping."""

_Mapped = TypeVar("_Mapped")


@dataclass(frozen=True, slots=True)
class Places:
    """Where samples lie in a gather's view of the tars; made many batches at a time.

    Attributes:
        units: Number of each sample's unit.
        at: Block of its tar header, in the address range or in the tar: int64 [B].
        starts: First latent frame of each window, int64 [B]; None for whole samples.
    """

    units: Indices
    at: torch.Tensor
    starts: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.units)

    def part(self, start: int, stop: int) -> "Places":
        """Return the places of some of the samples."""
        starts = None if self.starts is None else self.starts[start:stop]
        return Places(self.units[start:stop], self.at[start:stop], starts)


class Gather(ABC):
    """Copies samples out of the tars of one stream; safe to be called by several threads."""

    _pitch = 0
    """Bytes between the beginnings of two tars; 0 where each has a view of its own."""

    def __init__(
        self,
        index: UnitIndex,
        layout: StreamLayout,
        find_tar: FindTar,
        *,
        max_mapped: int | None = None,
    ) -> None:
        """Remember where samples lie; maps nothing.

        Args:
            index: The units.
            layout: Of their samples.
            find_tar: Says where a tar lies.
            max_mapped: Tars that may stay mapped between batches; None is all.
        """
        self._index, self._layout, self._find_tar = index, layout, find_tar
        self._max_mapped = max_mapped
        self._lock = Lock()

    def places(self, slots: Slots) -> Places:
        """Return where samples lie; touches none of them."""
        strides = self._layout.strides[self._index.runs_of_units(slots.units)]
        starts = slots.units * self._pitch + slots.slots * strides
        return Places(slots.units, torch.from_numpy(starts // BLOCK_BYTES))

    @abstractmethod
    def field(
        self, places: Places, entry: TensorEntry, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return one field of some samples, [B, *shape]: in ``out``, else in a fresh tensor."""

    @abstractmethod
    def keys(self, places: Places) -> torch.Tensor:
        """Return the keys of some samples as text, uint8 [B, 20], from their tar headers."""

    def _stretches(self, places: Places, entry: TensorEntry) -> tuple[Indices, int]:
        """Return the first bytes of a field's stretches, [B, stretches], and the bytes of each."""
        firsts = None if places.starts is None else places.starts.numpy()
        runs = self._index.runs_of_units(places.units)
        inside, num_bytes = self._layout.fields[entry.name].stretches(runs, firsts, entry)
        return places.at.numpy()[:, None] * BLOCK_BYTES + inside, num_bytes

    def _template(self, number: int) -> SampleLayout:
        """Return how the samples of a unit are laid out."""
        found = self._layout.templates[int(self._index.runs_of_units(np.array([number]))[0])]
        assert found is not None, "a unit with a tar has samples"
        return found


def keys_as_text(keys: torch.Tensor) -> list[str]:
    """Return a gather's keys as strings."""
    text = keys.numpy().tobytes().decode("ascii", "replace")
    return [text[i : i + KEY_DIGITS] for i in range(0, len(text), KEY_DIGITS)]


def map_tar(entry: UnitEntry, find_tar: FindTar, put: Callable[[Path], _Mapped]) -> _Mapped:
    """Return what ``put`` makes of a unit's tar, found anew if it is gone by then.

    A crowded cache may throw a tar out between its arrival and its mapping; once mapped it
    stays readable, whatever becomes of its name.

    Raises:
        ShardCorruptError: There is no such tar, however often it is looked for.
    """
    for _ in range(_MAX_FINDS):
        path = find_tar(entry)
        try:
            return put(path)
        except FileNotFoundError:
            continue
    raise ShardCorruptError(
        f"tar must be in the store, got none ({path}); run latentcache verify --repair"
    )


class UnitGather(Gather):
    """One view per tar, for systems without address ranges: a fifth of the speed."""

    def __init__(
        self,
        index: UnitIndex,
        layout: StreamLayout,
        find_tar: FindTar,
        *,
        max_mapped: int | None = None,
    ) -> None:
        """Map nothing yet; arguments are those of ``Gather``."""
        super().__init__(index, layout, find_tar, max_mapped=max_mapped)
        self._tars: dict[int, torch.Tensor] = {}

    def field(
        self, places: Places, entry: TensorEntry, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return one field of some samples, [B, *shape]: in ``out``, else in a fresh tensor."""
        begins, num_bytes = self._stretches(places, entry)
        found = self._copied(places.units, begins, num_bytes)
        found = found.view(getattr(torch, entry.dtype)).reshape(-1, *entry.shape)
        return found if out is None else out.copy_(found)

    def keys(self, places: Places) -> torch.Tensor:
        """Return the keys of some samples as text, uint8 [B, 20], from their tar headers."""
        return self._copied(places.units, places.at.numpy()[:, None] * BLOCK_BYTES, KEY_DIGITS)

    def _copied(self, units: Indices, begins: Indices, num_bytes: int) -> torch.Tensor:
        out = torch.empty((len(units), begins.shape[1] * num_bytes), dtype=torch.uint8)
        for number in np.unique(units).tolist():
            mine = np.flatnonzero(units == number)
            tar = self._tar(number)
            view = torch.as_strided(tar, (len(tar) - num_bytes + 1, num_bytes), (1, 1))
            found = torch.index_select(view, 0, torch.from_numpy(begins[mine].reshape(-1)))
            out[torch.from_numpy(mine)] = found.reshape(len(mine), -1)
        return out

    def _tar(self, number: int) -> torch.Tensor:
        with self._lock:
            # Taken out and put back: the first is the one that was not used for longest. Who
            # still reads one that is dropped keeps it mapped.
            tar = self._tars.pop(number, None)
            tar = self._open(number) if tar is None else tar
            self._tars[number] = tar
            if self._max_mapped is not None and len(self._tars) > self._max_mapped:
                del self._tars[next(iter(self._tars))]
            return tar

    def _open(self, number: int) -> torch.Tensor:
        entry = self._index.entries[number]
        assert entry.tar is not None, "rows without a sample are never gathered"
        template = self._template(number)
        template.check_size(entry)
        size_bytes = entry.tar.size_bytes
        tar = map_tar(entry, self._find_tar, lambda path: whole_file(path, size_bytes))
        header = tar[BLOCK_BYTES : template.first_payload]
        template.check_header(header.numpy().tobytes(), entry)
        return tar


def whole_file(path: Path, size_bytes: int) -> torch.Tensor:
    """Return a file's bytes, mapped.

    Raises:
        ShardCorruptError: It has another size.
        FileNotFoundError: There is no such file.
    """
    found = path.stat().st_size
    if found != size_bytes:
        raise wrong_size(path, size_bytes, found)
    try:
        return torch.from_file(str(path), size=size_bytes, dtype=torch.uint8)
    except RuntimeError:
        if path.exists():
            raise
        raise FileNotFoundError(path) from None
