"""A unit's meta: which rows are present, why the others are not, where payloads lie, statistics.

One safetensors file per unit. ``row`` always counts from the start of the plan's shard;
index ``i`` of an array is row ``first_row + i``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latentcache.core.errors import ShardCorruptError
from latentcache.core.fingerprint import canonical_json
from latentcache.core.rejects import Reject, RejectCode
from latentcache.store.format.tensor_file import read_tensors, write_tensors
from latentcache.store.format.tensors import TensorBytes, as_tensor_bytes

SOURCE_DIGEST_BYTES = 16
STATISTICS_PREFIX = "stats."

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedLayout:
    """Where the payloads of a fixed-shape unit lie: slot ``s`` at ``first + s * stride``.

    A slot is the rank of a row among the rows present. All in bytes of the tar.
    """

    first_payload: int
    stride: int
    payload_bytes: int


@dataclass(frozen=True, kw_only=True)
class UnitMeta:
    """What a meta file says.

    Attributes:
        first_row: Row in the shard of index 0; told by the unit's name, not by the file.
        present: bool per row.
        reject_code: uint8 per row; 0 where the row is present.
        source_digest: uint8 [rows, 16] of the bytes that were encoded; zeros if unknown.
        rejects: (row in the shard, reject), in row order.
        layout: Set if all samples present have one layout.
        offsets: int64 [present, 2], start and size of each member's safetensors bytes,
            if they do not. With no row present neither is set.
        statistics: Arrays by name, without the ``stats.`` prefix.
    """

    first_row: int
    present: Array
    reject_code: Array
    source_digest: Array
    rejects: Sequence[tuple[int, Reject]]
    layout: FixedLayout | None = None
    offsets: Array | None = None
    statistics: Mapping[str, Array] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """Planned rows of the unit."""
        return len(self.present)

    @property
    def num_present(self) -> int:
        """Rows that have a member in the tar."""
        return int(self.present.sum())

    @property
    def rows_present(self) -> Array:
        """Rows in the shard, by slot."""
        return np.flatnonzero(self.present) + self.first_row

    def slot_of(self, row: int) -> int | None:
        """Return the slot of a row of the shard, or None if it has no member."""
        index = row - self.first_row
        if not 0 <= index < self.num_rows or not self.present[index]:
            return None
        return int(self.present[:index].sum())

    def reject_of(self, row: int) -> Reject | None:
        """Return why a row has no member, or None if it has one."""
        return dict(self.rejects).get(row)


def meta_bytes(meta: UnitMeta) -> bytes:
    """Return the file that says ``meta``; equal metas give equal bytes."""
    arrays: dict[str, Array] = {
        "present": meta.present.astype(np.uint8),
        "reject_code": meta.reject_code.astype(np.uint8),
        "source_digest": meta.source_digest.astype(np.uint8),
        "rejects_json": np.frombuffer(_rejects_json(meta.rejects), np.uint8),
    }
    if meta.layout is not None:
        at = meta.layout
        arrays["layout"] = np.array([at.first_payload, at.stride, at.payload_bytes], np.int64)
    if meta.offsets is not None:
        arrays["offsets"] = meta.offsets.astype(np.int64)
    for name, array in meta.statistics.items():
        arrays[STATISTICS_PREFIX + name.removeprefix(STATISTICS_PREFIX)] = np.asarray(array)
    return write_tensors(as_tensor_bytes(arrays))


def read_meta(data: bytes, *, first_row: int, num_rows: int, where: str) -> UnitMeta:
    """Return what a meta file says.

    Args:
        data: The whole file.
        first_row: Of the unit.
        num_rows: Of the unit; the file must agree.
        where: The object, for errors.

    Raises:
        ShardCorruptError: The bytes are not a meta of this unit, or contradict themselves.
    """
    tensors = read_tensors(data, where=where)
    try:
        meta = UnitMeta(
            first_row=first_row,
            present=_rows(tensors, "present", (num_rows,)).astype(bool),
            reject_code=_rows(tensors, "reject_code", (num_rows,)),
            source_digest=_rows(tensors, "source_digest", (num_rows, SOURCE_DIGEST_BYTES)),
            rejects=_parse_rejects(bytes(tensors["rejects_json"].data)),
            layout=_parse_layout(tensors),
            offsets=tensors["offsets"].to_numpy() if "offsets" in tensors else None,
            statistics={
                name.removeprefix(STATISTICS_PREFIX): tensor.to_numpy()
                for name, tensor in tensors.items()
                if name.startswith(STATISTICS_PREFIX)
            },
        )
        _check(meta)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ShardCorruptError(
            f"meta must be that of a unit of {num_rows} rows, got one where {error} is wrong "
            f"({where}); run latentcache verify --repair"
        ) from None
    return meta


def _rejects_json(rejects: Sequence[tuple[int, Reject]]) -> bytes:
    rows = [
        {
            "row": row,
            "code": reject.code,
            "stage": reject.stage,
            "reason": reject.reason,
            "is_transient": reject.is_transient,
            "trace_digest": reject.trace_digest,
        }
        for row, reject in sorted(rejects, key=lambda item: item[0])
    ]
    return canonical_json(rows).encode()


def _parse_rejects(data: bytes) -> tuple[tuple[int, Reject], ...]:
    return tuple((int(values.pop("row")), Reject(**values)) for values in json.loads(data))


def _rows(tensors: Mapping[str, TensorBytes], name: str, shape: tuple[int, ...]) -> Array:
    tensor = tensors[name]
    if tensor.dtype != "uint8" or tensor.shape != shape:
        raise ValueError(f"{name} {tensor.dtype} {tensor.shape}")
    return tensor.to_numpy()


def _parse_layout(tensors: Mapping[str, TensorBytes]) -> FixedLayout | None:
    if "layout" not in tensors:
        return None
    first, stride, size = tensors["layout"].to_numpy().tolist()
    return FixedLayout(first_payload=first, stride=stride, payload_bytes=size)


def _check(meta: UnitMeta) -> None:
    codes = np.zeros(meta.num_rows, np.uint8)
    for row, reject in meta.rejects:
        codes[_index(row, meta)] = reject.number
    if not np.array_equal(codes, meta.reject_code):
        raise ValueError("reject_code against rejects_json")
    if not np.array_equal(meta.present, meta.reject_code == RejectCode.NONE):
        raise ValueError("present against reject_code")
    located = (meta.layout is not None) + (meta.offsets is not None)
    if located != (meta.num_present > 0):
        raise ValueError("layout or offsets")
    if meta.offsets is not None and meta.offsets.shape != (meta.num_present, 2):
        raise ValueError(f"offsets {meta.offsets.shape}")


def _index(row: int, meta: UnitMeta) -> int:
    index = row - meta.first_row
    if not 0 <= index < meta.num_rows:
        raise ValueError(f"rejected row {row}")
    return index
