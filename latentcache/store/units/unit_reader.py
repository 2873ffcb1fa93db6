"""Reading one unit: its meta, its samples one by one, or all of them as one strided view."""

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentcache.core.errors import ShardCorruptError
from latentcache.core.fingerprint import sha256_hex
from latentcache.storage import Folder
from latentcache.store.format.records import ObjectRef, UnitEntry
from latentcache.store.format.tar import BLOCK_BYTES, KEY_DIGITS, MemberHeader
from latentcache.store.format.tensor_file import TensorFileHeader, TensorFileReader, read_header
from latentcache.store.format.tensors import RAW_DTYPES, TensorBytes
from latentcache.store.format.unit_meta import UnitMeta, read_meta

Array = np.ndarray[Any, Any]
SampleFields = dict[str, Array | TensorBytes]
"""A sample's fields: numpy arrays, or ``TensorBytes`` where numpy lacks the dtype."""


def read_object(folder: Folder, ref: ObjectRef) -> bytes:
    """Return an object's bytes once they agree with what the commit recorded.

    Raises:
        ShardCorruptError: It is missing, or its bytes differ.
    """
    try:
        data = folder.read(ref.name)
    except FileNotFoundError:
        raise missing_object(ref) from None
    if len(data) != ref.size_bytes or sha256_hex(data) != ref.sha256:
        raise ShardCorruptError(
            f"object must have {ref.size_bytes} bytes and SHA-256 {ref.sha256[:16]}, got "
            f"{len(data)} bytes and {sha256_hex(data)[:16]} ({ref.name}); "
            f"run latentcache verify --repair"
        )
    return data


def missing_object(ref: ObjectRef) -> ShardCorruptError:
    """Return the error for an object that a commit names and the store lacks."""
    return ShardCorruptError(
        f"object must be in the store, got none ({ref.name}); run latentcache verify --repair"
    )


def read_unit_meta(folder: Folder, entry: UnitEntry) -> UnitMeta:
    """Return a unit's meta, its checksum compared.

    Raises:
        ShardCorruptError: It is missing, differs from its commit, or is no meta.
    """
    data = read_object(folder, entry.meta)
    unit = entry.unit
    return read_meta(data, first_row=unit.first_row, num_rows=unit.num_rows, where=entry.meta.name)


def member_ranges(meta: UnitMeta) -> Array:
    """Return int64 [present, 2]: start and size of each member's safetensors bytes, by slot."""
    if meta.offsets is not None:
        return meta.offsets
    if meta.layout is None:
        return np.zeros((0, 2), np.int64)
    at = meta.layout
    slots = np.arange(meta.num_present, dtype=np.int64)
    size = at.first_payload - BLOCK_BYTES + at.payload_bytes
    return np.stack([BLOCK_BYTES + slots * at.stride, np.full_like(slots, size)], axis=1)


@dataclass(frozen=True, slots=True)
class UnitSample:
    """One sample of a unit: its row in the shard, its key, its fields."""

    row: int
    key: str
    fields: SampleFields


def iter_unit(folder: Folder, entry: UnitEntry, *, column: str) -> Iterator[UnitSample]:
    """Yield a unit's samples in row order; memory holds one at a time.

    Raises:
        ShardCorruptError: The meta differs from its commit, or a member from the meta.
    """
    if entry.tar is None:
        return
    meta = read_unit_meta(folder, entry)
    try:
        file = folder.open_read(entry.tar.name)
    except FileNotFoundError:
        raise missing_object(entry.tar) from None
    reader = TensorFileReader()
    with file:
        for row, (start, size) in zip(meta.rows_present, member_ranges(meta).tolist(), strict=True):
            file.seek(start - BLOCK_BYTES)
            block = file.read(BLOCK_BYTES + size)
            yield _parse_member(reader, block, int(row), column=column, where=entry.tar.name)


def read_row(folder: Folder, entry: UnitEntry, *, row: int, column: str) -> UnitSample | None:
    """Return one sample of a unit, or None if the row is not present.

    Raises:
        ShardCorruptError: As for ``iter_unit``.
    """
    meta = read_unit_meta(folder, entry)
    slot = meta.slot_of(row)
    if slot is None or entry.tar is None:
        return None
    start, size = member_ranges(meta)[slot].tolist()
    try:
        block = folder.read(entry.tar.name, start=start - BLOCK_BYTES, end=start + size)
    except FileNotFoundError:
        raise missing_object(entry.tar) from None
    reader = TensorFileReader()
    return _parse_member(reader, block, row, column=column, where=entry.tar.name)


def _parse_member(
    reader: TensorFileReader, block: bytes, row: int, *, column: str, where: str
) -> UnitSample:
    """Return the sample in a member with its tar header.

    Raises:
        ShardCorruptError: The header is not that of a member of this size, or the
            member is not a tensor file.
    """
    key = block[:KEY_DIGITS].decode("ascii", "replace")
    try:
        expected = MemberHeader(column, max(0, len(block) - BLOCK_BYTES)).for_key(key)
    except ValueError:
        expected = b""
    if block[:BLOCK_BYTES] != expected:
        raise ShardCorruptError(
            f"member must start with its tar header, got other bytes (row {row} of {where}); "
            f"run latentcache verify --repair"
        )
    tensors = reader.read(memoryview(block)[BLOCK_BYTES:], where=f"row {row} of {where}")
    return UnitSample(row, key, public_fields(tensors))


def public_fields(tensors: Mapping[str, TensorBytes]) -> SampleFields:
    """Return tensors as numpy arrays, but for those whose dtype numpy lacks."""
    return {
        name: tensor if tensor.dtype in RAW_DTYPES else tensor.to_numpy()
        for name, tensor in tensors.items()
    }


@dataclass(frozen=True, slots=True)
class StridedField:
    """One field of all samples of a unit, without a copy.

    Attributes:
        dtype: Its storage dtype.
        values: [present, *shape], read-only; bf16 and fp8 as the integers of their bits.
    """

    dtype: str
    values: Array


class MappedUnit:
    """A local fixed-shape tar in memory: random access and gathers without a copy or a parse.

    Attributes:
        rows: Rows in the shard, by slot.
        fields: By name.
    """

    def __init__(self, folder: Folder, entry: UnitEntry) -> None:
        """Map a unit's tar.

        Raises:
            ValueError: The store is not local, no row is present, or shapes vary.
            ShardCorruptError: The tar is shorter than its meta says.
        """
        meta = read_unit_meta(folder, entry)
        path = folder.local_path(entry.tar.name) if entry.tar else None
        if path is None or meta.layout is None:
            raise ValueError(
                f"unit must be a local tar of one shape, got {entry.unit.unit} "
                f"({folder.label}); iterate over its samples instead"
            )
        self.rows = meta.rows_present
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            assert entry.tar is not None
            raise missing_object(entry.tar) from None
        first, stride = meta.layout.first_payload, meta.layout.stride
        if len(self._map) < first + stride * (len(self.rows) - 1) + meta.layout.payload_bytes:
            raise ShardCorruptError(
                f"tar must hold {len(self.rows)} samples, got {len(self._map)} bytes ({path}); "
                f"run latentcache verify --repair"
            )
        header = read_header(memoryview(self._map)[BLOCK_BYTES:first], where=str(path))
        self.fields = {
            name: StridedField(dtype, view)
            for name, dtype, view in self._views(header, first, stride)
        }

    def _views(
        self, header: TensorFileHeader, first: int, stride: int
    ) -> Iterator[tuple[str, str, Array]]:
        for entry in header.entries:
            raw = np.dtype(RAW_DTYPES.get(entry.dtype, entry.dtype))
            inner = _c_strides(entry.shape, raw.itemsize)
            view: Array = np.ndarray(
                (len(self.rows), *entry.shape),
                raw,
                buffer=self._map,
                offset=first + entry.start,
                strides=(stride, *inner),
            )
            yield entry.name, entry.dtype, view


def _c_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    strides: list[int] = []
    step = itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
