"""Safetensors bytes with one right answer: no metadata, fixed order, 8-byte aligned payload.

The safetensors library reads what this writes. Its own writer agrees byte for byte where
no two fields of one dtype size differ in dtype; there this module sorts by name alone.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from latentcache.core.errors import ShardCorruptError
from latentcache.store.format.tensors import (
    ITEM_BYTES,
    SAFETENSORS_NAMES,
    TensorBytes,
    TensorSource,
)

MAX_HEADER_BYTES = 100_000_000
"""The library's own limit; a longer header is a damaged one."""

_DTYPE_OF_WORD = {word: name for name, word in SAFETENSORS_NAMES.items()}

FieldLayout = Mapping[str, tuple[str, tuple[int, ...]]]
"""Field name to (dtype, shape)."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one tensor lies: bytes ``[start, stop)`` of the payload."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class TensorFileHeader:
    """A parsed header.

    Attributes:
        num_bytes: Header with its 8-byte length: where the payload starts.
        entries: In payload order.
    """

    num_bytes: int
    entries: tuple[TensorEntry, ...]

    @property
    def payload_bytes(self) -> int:
        """Bytes of all tensors together."""
        return self.entries[-1].stop if self.entries else 0

    def tensors(self, payload: memoryview) -> dict[str, TensorBytes]:
        """Return views of ``payload``, which starts where the header ends."""
        return {
            entry.name: TensorBytes(entry.dtype, entry.shape, payload[entry.start : entry.stop])
            for entry in self.entries
        }


def field_order(layout: FieldLayout) -> list[str]:
    """Return field names as they follow each other: widest element first, then by name.

    So every tensor is aligned to its element without a hole between tensors.
    """
    return sorted(layout, key=lambda name: (-ITEM_BYTES[layout[name][0]], name.encode()))


def header_bytes(layout: FieldLayout) -> bytes:
    """Return the safetensors header: 8-byte length, JSON, spaces up to a multiple of 8."""
    table: dict[str, object] = {}
    start = 0
    for name in field_order(layout):
        dtype, shape = layout[name]
        stop = start + math.prod(shape) * ITEM_BYTES[dtype]
        table[name] = {
            "dtype": SAFETENSORS_NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def payload_bytes(layout: FieldLayout) -> int:
    """Return the bytes of all tensors together."""
    return sum(math.prod(shape) * ITEM_BYTES[dtype] for dtype, shape in layout.values())


def layout_of(fields: Mapping[str, TensorSource]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the dtype and shape of every field."""
    return {name: (tensor.dtype, tensor.shape) for name, tensor in fields.items()}


def write_tensors(fields: Mapping[str, TensorBytes]) -> bytes:
    """Return a whole tensor file; equal fields give equal bytes."""
    layout = layout_of(fields)
    parts: list[bytes | bytearray | memoryview] = [header_bytes(layout)]
    parts += [fields[name].data for name in field_order(layout)]
    return b"".join(parts)


def read_header(data: memoryview, *, where: str) -> TensorFileHeader:
    """Return the header at the start of ``data``.

    Args:
        data: At least the whole header; the payload may be missing.
        where: Named in errors.

    Raises:
        ShardCorruptError: The bytes are not a header of format 1.
    """
    if data.nbytes < 8:
        raise _corrupt("length", "8 bytes", f"{data.nbytes}", where)
    (length,) = struct.unpack_from("<Q", data)
    if length > min(MAX_HEADER_BYTES, data.nbytes - 8):
        raise _corrupt("header", f"within its {data.nbytes} bytes", f"{length} bytes", where)
    try:
        table = json.loads(bytes(data[8 : 8 + length]))
        table.pop("__metadata__", None)
        entries = [_entry(name, row) for name, row in table.items()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _corrupt("header", "safetensors JSON", type(error).__name__, where) from None
    entries.sort(key=lambda entry: (entry.start, entry.stop))
    position = 0
    for entry in entries:
        if entry.start != position:
            raise _corrupt("tensors", "without gaps or overlap", entry.name, where)
        position = entry.stop
    return TensorFileHeader(8 + length, tuple(entries))


def read_tensors(data: bytes | memoryview, *, where: str) -> dict[str, TensorBytes]:
    """Return views of all tensors of a whole file.

    Raises:
        ShardCorruptError: The bytes are not a whole tensor file of format 1.
    """
    return TensorFileReader().read(data, where=where)


class TensorFileReader:
    """Reads tensor files one after the other; a header like the last one is not parsed again."""

    def __init__(self) -> None:
        self._bytes = b""
        self._header: TensorFileHeader | None = None

    def read(self, data: bytes | memoryview, *, where: str) -> dict[str, TensorBytes]:
        """Return views of all tensors of a whole file; raises as ``read_tensors`` does."""
        view = memoryview(data)
        header = self._header
        if header is None or bytes(view[: header.num_bytes]) != self._bytes:
            header = self._header = read_header(view, where=where)
            self._bytes = bytes(view[: header.num_bytes])
        expected = header.num_bytes + header.payload_bytes
        if view.nbytes != expected:
            raise _corrupt("size", f"{expected} bytes", f"{view.nbytes}", where)
        return header.tensors(view[header.num_bytes :])


def _entry(name: str, row: Mapping[str, object]) -> TensorEntry:
    dtype = _DTYPE_OF_WORD[str(row["dtype"])]
    shape = row["shape"]
    offsets = row["data_offsets"]
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("shape")
    if not isinstance(offsets, list) or [type(n) for n in offsets] != [int, int]:
        raise ValueError("data_offsets")
    start, stop = offsets
    if start < 0 or stop - start != math.prod(shape) * ITEM_BYTES[dtype]:
        raise ValueError("data_offsets")
    return TensorEntry(name, dtype, tuple(shape), start, stop)


def _corrupt(name: str, rule: str, got: str, where: str) -> ShardCorruptError:
    return ShardCorruptError(
        f"{name} must be {rule}, got {got} ({where}); run latentcache verify --repair"
    )
