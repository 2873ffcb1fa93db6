"""The bytes of a shard: plain USTAR, constant headers, one safetensors member per sample.

Equal content gives equal bytes, and where all samples of a unit have one layout their
payloads lie at ``offset + slot * stride``. docs/format.md specifies both for strangers.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Protocol

from latentcache.core.errors import ShardCorruptError
from latentcache.store.format.tensor_file import (
    FieldLayout,
    field_order,
    header_bytes,
    layout_of,
    payload_bytes,
)
from latentcache.store.format.tensors import TensorSource

BLOCK_BYTES = 512
KEY_DIGITS = 20
END_OF_ARCHIVE = bytes(2 * BLOCK_BYTES)
MAX_MEMBER_BYTES = 8**11 - 1
"""USTAR writes sizes as 11 octal digits: 8 GiB less one byte."""

_JOIN_BYTES = 128 * 1024
"""Below this a copy costs less than hashing and writing piece by piece."""

_NAME_BYTES = 100
_CHECKSUM = slice(148, 156)
_NO_METADATA_MODE = b"0000644\0"
_ZERO = b"0000000\0"
_HEX = frozenset(b"0123456789abcdef")


def member_suffix(column: str) -> str:
    """Return what follows the key in a member's name."""
    return f".{column}.safetensors"


@dataclass(frozen=True)
class MemberHeader:
    """The tar header that all members of one column and size share, but for the key.

    Attributes:
        column: Name of the column, in the member's name.
        size_bytes: Size of the safetensors member.
    """

    column: str
    size_bytes: int

    def __post_init__(self) -> None:
        if not 0 <= self.size_bytes <= MAX_MEMBER_BYTES:
            raise ValueError(
                f"size_bytes must be at most {MAX_MEMBER_BYTES}, got {self.size_bytes} "
                f"(column {self.column}); a sample cannot be larger than 8 GiB"
            )
        if KEY_DIGITS + len(member_suffix(self.column).encode()) > _NAME_BYTES:
            raise ValueError(
                f"column must be at most 67 bytes, got {self.column!r}; choose a shorter name"
            )

    @cached_property
    def _parts(self) -> tuple[bytes, bytes, int]:
        """Header from the key to the checksum, from there on, and the checksum without key."""
        suffix = member_suffix(self.column).encode()
        head = bytearray(BLOCK_BYTES)
        head[KEY_DIGITS : KEY_DIGITS + len(suffix)] = suffix
        head[100:108] = _NO_METADATA_MODE
        head[108:116] = head[116:124] = _ZERO
        head[124:136] = b"%011o\0" % self.size_bytes
        head[136:148] = b"%011o\0" % 0
        head[_CHECKSUM] = b" " * 8
        head[156:157] = b"0"
        head[257:265] = b"ustar\x0000"
        return bytes(head[KEY_DIGITS:148]), bytes(head[156:]), sum(head)

    def for_key(self, key: str) -> bytes:
        """Return the 512 bytes before the member of ``key``."""
        digits = key.encode()
        if len(digits) != KEY_DIGITS or not _HEX.issuperset(digits):
            raise ValueError(f"key must be {KEY_DIGITS} lower-case hex digits, got {key!r}")
        to_checksum, rest, total = self._parts
        return b"%b%b%06o\0 %b" % (digits, to_checksum, total + sum(digits), rest)


class _Sink(Protocol):
    def write(self, data: bytes | bytearray | memoryview, /) -> object: ...


@dataclass(frozen=True, slots=True)
class MemberLayout:
    """What all members of one layout share: dtypes and shapes, headers, padding."""

    fields: dict[str, tuple[str, tuple[int, ...]]]
    order: tuple[str, ...]
    tensor_header: bytes
    payload_bytes: int
    tar_header: MemberHeader
    padding: bytes

    @property
    def stride(self) -> int:
        """Bytes from one member's tar header to the next one's."""
        return BLOCK_BYTES + self.tar_header.size_bytes + len(self.padding)

    @property
    def first_payload(self) -> int:
        """Where slot 0's first tensor starts in a tar of this layout alone."""
        return BLOCK_BYTES + len(self.tensor_header)


def member_layout(column: str, fields: Mapping[str, TensorSource]) -> MemberLayout:
    """Return the layout of members that hold ``fields``.

    Raises:
        ValueError: The member or its name is too long for USTAR.
    """
    layout = layout_of(fields)
    header = header_bytes(layout)
    payload_bytes = sum(tensor.num_bytes for tensor in fields.values())
    size = len(header) + payload_bytes
    return MemberLayout(
        fields=layout,
        order=tuple(field_order(layout)),
        tensor_header=header,
        payload_bytes=payload_bytes,
        tar_header=MemberHeader(column, size),
        padding=bytes(-size % BLOCK_BYTES),
    )


def member_bytes(layout: FieldLayout) -> int:
    """Return what one member takes in a tar: both headers, its tensors, padding."""
    size = len(header_bytes(layout)) + payload_bytes(layout)
    return BLOCK_BYTES + size + (-size % BLOCK_BYTES)


class TarWriter:
    """Streams members into a sink, in the order they are added.

    Attributes:
        num_members: Added so far.
        num_bytes: Written so far.
        is_fixed: All members so far have one layout.
        layout: The layout of the last member; of all while ``is_fixed``.
        offsets: (start of the safetensors bytes, their size) per member.
    """

    def __init__(self, sink: _Sink, *, column: str) -> None:
        self._sink = sink
        self._column = column
        self.num_bytes = 0
        self.is_fixed = True
        self.layout: MemberLayout | None = None
        self.offsets: list[tuple[int, int]] = []

    @property
    def num_members(self) -> int:
        """Members added so far."""
        return len(self.offsets)

    def add(self, key: str, fields: Mapping[str, TensorSource]) -> None:
        """Append one sample.

        Raises:
            ValueError: The key is not 20 hex digits, or the member too long.
        """
        layout = self._layout_for(fields)
        head = (layout.tar_header.for_key(key), layout.tensor_header)
        payload = (block for name in layout.order for block in fields[name].blocks())
        pieces: Iterable[bytes | bytearray | memoryview] = chain(head, payload, (layout.padding,))
        if layout.payload_bytes <= _JOIN_BYTES:
            pieces = [b"".join(pieces)]
        for piece in pieces:
            self._sink.write(piece)
        self.offsets.append((self.num_bytes + BLOCK_BYTES, layout.tar_header.size_bytes))
        self.num_bytes += layout.stride

    def finish(self) -> None:
        """Write the end of the archive: two zero blocks, no padding to a blocking factor."""
        self._sink.write(END_OF_ARCHIVE)
        self.num_bytes += len(END_OF_ARCHIVE)

    def _layout_for(self, fields: Mapping[str, TensorSource]) -> MemberLayout:
        layout = self.layout
        if layout is not None and layout.fields == layout_of(fields):
            return layout
        self.is_fixed = layout is None
        self.layout = member_layout(self._column, fields)
        return self.layout


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member found in a tar.

    Attributes:
        key: Its sample's key.
        start: Where its safetensors bytes start.
        size_bytes: How many there are.
    """

    key: str
    start: int
    size_bytes: int


def iter_members(data: memoryview, *, column: str, where: str) -> Iterator[TarMember]:
    """Yield the members of a tar in file order.

    Every header must be, byte for byte, the one that ``TarWriter`` writes: any other
    archive is somebody else's, or damaged.

    Raises:
        ShardCorruptError: A header differs, a member is cut short, or the end is missing.
    """
    position = 0
    headers: dict[int, MemberHeader] = {}
    while True:
        block = bytes(data[position : position + BLOCK_BYTES])
        if block == bytes(BLOCK_BYTES):
            if bytes(data[position:]) != END_OF_ARCHIVE:
                raise _corrupt("end of archive", "two zero blocks", "other bytes", where)
            return
        key, size = _key_and_size(block, position, where)
        header = headers.get(size) or headers.setdefault(size, MemberHeader(column, size))
        if block != header.for_key(key):
            raise _corrupt("tar header", f"that of {column}", f"another at {position}", where)
        start = position + BLOCK_BYTES
        position = start + size + (-size % BLOCK_BYTES)
        padding = position - start - size
        if position > data.nbytes or bytes(data[start + size : position]) != bytes(padding):
            raise _corrupt("member", "whole and zero-padded", f"key {key} at {start}", where)
        yield TarMember(key, start, size)


def _key_and_size(block: bytes, position: int, where: str) -> tuple[str, int]:
    try:
        if len(block) != BLOCK_BYTES or not _HEX.issuperset(block[:KEY_DIGITS]):
            raise ValueError
        return block[:KEY_DIGITS].decode("ascii"), int(block[124:135], 8)
    except ValueError:
        got = f"{len(block)} bytes that are none at {position}"
        raise _corrupt("tar header", "whole", got, where) from None


def _corrupt(name: str, rule: str, got: str, where: str) -> ShardCorruptError:
    return ShardCorruptError(
        f"{name} must be {rule}, got {got} ({where}); run latentcache verify --repair"
    )
