"""What all samples of a column and bucket have in common: where in a member a field lies.

A sample is stored channel by channel, so a window of latent frames is one stretch of bytes per
channel; a field that is read whole is one stretch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from latentcache.core.errors import ConfigError, ShardCorruptError
from latentcache.loader.order.feistel import Indices
from latentcache.storage import Folder
from latentcache.store import UnitEntry
from latentcache.store.format import BLOCK_BYTES, END_OF_ARCHIVE, TensorEntry, read_header

_FIRST_READ_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleLayout:
    """One member's layout, which all members of a bucket must share.

    Attributes:
        header: The safetensors header, its length included.
        fields: Name to where it lies after the header.
        first_payload: Where the first member's first tensor starts in a tar.
        stride: Bytes from one member to the next.
    """

    header: bytes
    fields: dict[str, TensorEntry]
    first_payload: int
    stride: int

    def check_size(self, entry: UnitEntry) -> None:
        """Refuse a tar whose samples cannot all have this layout.

        Raises:
            ConfigError: Sizes vary.
        """
        assert entry.tar is not None, "only units with a tar have a size"
        expected = entry.num_present * self.stride + len(END_OF_ARCHIVE)
        if entry.tar.size_bytes != expected:
            raise ConfigError(
                f"samples of a bucket must have one shape to be loaded in batches, got a tar of "
                f"{entry.tar.size_bytes} bytes where {entry.num_present} samples of the bucket's "
                f"shape have {expected} ({entry.tar.name}); leave the column out"
            )

    def check_header(self, found: bytes, entry: UnitEntry) -> None:
        """Refuse a tar whose first sample has another header.

        Raises:
            ShardCorruptError: It has.
        """
        if found != self.header:
            assert entry.tar is not None, "only units with a tar have a header"
            raise ShardCorruptError(
                f"samples must start with {self.header[8:].decode().strip()}, got "
                f"{found[8:].decode('utf-8', 'replace').strip()} ({entry.tar.name}); "
                f"run latentcache verify --repair"
            )


@dataclass(frozen=True, kw_only=True)
class StreamField:
    """One field of the samples of some runs, and what of it is in a batch.

    Attributes:
        entry: What is in a batch; its bytes are counted from 0.
        starts: Where the field begins in a sample of each run, from its tar header.
        outer: Stretches of bytes per sample: values before the axis of frames; 1 if read whole.
        frame_bytes: Of one frame in a stretch; 0 if read whole.
        num_frames: Of each run's samples; 0 if read whole.
    """

    entry: TensorEntry
    starts: Indices
    outer: int
    frame_bytes: int
    num_frames: Indices

    @property
    def is_whole(self) -> bool:
        """Whether all of it is read, and no window."""
        return self.frame_bytes == 0

    @property
    def only_start(self) -> int | None:
        """Where it begins in every sample, if it is read whole and that is one place."""
        first = int(self.starts.max())
        return first if self.is_whole and (self.starts == first).all() else None

    def grain(self, asked: TensorEntry) -> int:
        """Return what all stretches of a part of it begin and end at multiples of, at most 8."""
        if self.is_whole:
            return math.gcd(self._grain, asked.start, asked.stop)
        return self._grain

    def stretches(
        self, runs: Indices, firsts: Indices | None, asked: TensorEntry
    ) -> tuple[Indices, int]:
        """Return where stretches of some samples begin, [B, stretches], and how many bytes one has.

        Args:
            runs: Of each sample; one for all.
            firsts: First frame of each one's window.
            asked: The field, or some of its channels.
        """
        if self.is_whole:
            return (self.starts[runs] + asked.start)[:, None], asked.stop - asked.start
        num_bytes = self.entry.stop // self.outer
        assert firsts is not None, "windows begin somewhere"
        outer = np.arange(asked.start // num_bytes, asked.stop // num_bytes)
        steps = self.num_frames[runs] * self.frame_bytes
        begins = self.starts[runs] + firsts * self.frame_bytes
        return begins[:, None] + steps[:, None] * outer, num_bytes

    @cached_property
    def _grain(self) -> int:
        return math.gcd(8, self.frame_bytes, *(self.starts % 8).tolist())


@dataclass(frozen=True, kw_only=True)
class StreamLayout:
    """How the samples of several runs are laid out.

    Attributes:
        templates: Of each run; None where it has no sample.
        fields: What of a sample is in a batch, by name.
    """

    templates: Sequence[SampleLayout | None]
    fields: Mapping[str, StreamField]

    @classmethod
    def whole(cls, templates: Sequence[SampleLayout | None]) -> "StreamLayout":
        """Return the layout of samples that are read whole."""
        names = next(one for one in templates if one is not None).fields
        return cls(
            templates=templates, fields={name: whole_field(templates, name) for name in names}
        )

    @cached_property
    def strides(self) -> Indices:
        """Bytes from one member to the next, of each run."""
        return np.array([one.stride if one else 0 for one in self.templates], np.int64)


def whole_field(templates: Sequence[SampleLayout | None], name: str) -> StreamField:
    """Return a field that is read whole."""
    entry = next(one for one in templates if one is not None).fields[name]
    return StreamField(
        entry=replace(entry, start=0, stop=entry.stop - entry.start),
        starts=field_starts(templates, name),
        outer=1,
        frame_bytes=0,
        num_frames=np.zeros(len(templates), np.int64),
    )


def field_starts(templates: Sequence[SampleLayout | None], name: str) -> Indices:
    """Return where a field begins in a sample of each run, from its tar header.

    A run without a sample is given what another has.
    """
    starts = [one.first_payload + one.fields[name].start if one else None for one in templates]
    known = next(start for start in starts if start is not None)
    return np.array([known if start is None else start for start in starts], np.int64)


def read_template(folder: Folder, entries: Iterable[UnitEntry]) -> SampleLayout | None:
    """Return the layout of the first sample of the first unit that has any, or None."""
    entry = next((entry for entry in entries if entry.tar is not None), None)
    if entry is None or entry.tar is None:
        return None
    name = entry.tar.name
    try:
        head = folder.read(name, start=BLOCK_BYTES, end=BLOCK_BYTES + _FIRST_READ_BYTES)
        length = 8 + int.from_bytes(head[:8], "little")
        if _FIRST_READ_BYTES < length < entry.tar.size_bytes:
            head = folder.read(name, start=BLOCK_BYTES, end=BLOCK_BYTES + length)
    except FileNotFoundError:
        raise ShardCorruptError(
            f"tar must be in the store, got none ({name}); run latentcache verify --repair"
        ) from None
    header = read_header(memoryview(head), where=name)
    size = header.num_bytes + header.payload_bytes
    return SampleLayout(
        header=head[: header.num_bytes],
        fields={one.name: one for one in header.entries},
        first_payload=BLOCK_BYTES + header.num_bytes,
        stride=BLOCK_BYTES + size + (-size % BLOCK_BYTES),
    )
