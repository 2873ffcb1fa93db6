"""Reading one unit: its meta, and its samples one by one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentcache.core.errors import ShardCorruptError
from latentcache.core.fingerprint import sha256_hex
from latentcache.storage import Folder
from latentcache.store.format.records import ObjectRef, UnitEntry
from latentcache.store.format.tar import BLOCK_BYTES, KEY_DIGITS, MemberHeader
from latentcache.store.format.tensor_file import TensorFileReader
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
