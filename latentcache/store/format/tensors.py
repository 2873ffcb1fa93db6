"""Tensors as bytes: a dtype name, a shape and little-endian data; no torch needed.

numpy knows neither bfloat16 nor fp8, so a sample's fields travel as ``TensorBytes``.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np

SAFETENSORS_NAMES: dict[str, str] = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
}
"""Every dtype a tensor file of format 1 may hold, with the word its header uses."""

ITEM_BYTES: dict[str, int] = {
    name: int("".join(filter(str.isdigit, word.partition("_")[0]))) // 8
    for name, word in SAFETENSORS_NAMES.items()
}
"""Bytes of one element."""

RAW_DTYPES: dict[str, str] = {
    "bfloat16": "uint16",
    "float8_e4m3fn": "uint8",
    "float8_e5m2": "uint8",
}
"""Dtypes that numpy lacks, with the integers that carry their bits."""

# ``dtype.name`` takes 5 us a call, which a sample of 8 KiB would notice.
_NAME_OF_STR = {np.dtype(name).str: name for name in SAFETENSORS_NAMES if name not in RAW_DTYPES}

assert sys.byteorder == "little", "format 1 is little-endian and written without swapping"


class TensorSource(Protocol):
    """One tensor whose bytes can be had in order: in memory, or on a disk."""

    @property
    def dtype(self) -> str:
        """A key of ``SAFETENSORS_NAMES``."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole tensor."""
        ...

    @property
    def num_bytes(self) -> int:
        """Of the whole tensor."""
        ...

    def blocks(self) -> Iterator[bytes | bytearray | memoryview]:
        """Yield the bytes in order."""
        ...


@dataclass(frozen=True, slots=True)
class TensorBytes:
    """One tensor as it lies in a file: C order, little-endian.

    Attributes:
        dtype: A key of ``SAFETENSORS_NAMES``.
        shape: May be empty (a scalar) and may hold zeros.
        data: ``num_elements * ITEM_BYTES[dtype]`` contiguous bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | bytearray | memoryview

    def __post_init__(self) -> None:
        if self.dtype not in SAFETENSORS_NAMES:
            known = ", ".join(SAFETENSORS_NAMES)
            raise ValueError(f"dtype must be one of {known}, got {self.dtype!r}")
        expected = math.prod(self.shape) * ITEM_BYTES[self.dtype]
        if self.num_bytes != expected:
            raise ValueError(
                f"data must be {expected} bytes for {self.dtype} {self.shape}, got {self.num_bytes}"
            )

    @property
    def num_bytes(self) -> int:
        """Size of ``data``."""
        return memoryview(self.data).nbytes

    def blocks(self) -> Iterator[bytes | bytearray | memoryview]:
        """Yield the bytes, all at once."""
        yield self.data

    @classmethod
    def from_numpy(cls, array: np.ndarray[Any, Any]) -> "TensorBytes":
        """Return the bytes of ``array``; copies only if it is not contiguous little-endian.

        Raises:
            ValueError: The dtype is not one of format 1.
        """
        name = _NAME_OF_STR.get(array.dtype.str)
        if name is None:
            array = array.astype(array.dtype.newbyteorder("<"))
            name = _NAME_OF_STR.get(array.dtype.str)
        if name is None:
            raise ValueError(f"dtype must be one that format 1 knows, got {array.dtype}")
        contiguous = np.ascontiguousarray(array)
        # A view of a zero-sized array cannot be cast, and 0-d arrays have no byte view.
        data = contiguous.reshape(-1).view(np.uint8).data if contiguous.size else b""
        return cls(name, array.shape, data)

    def to_numpy(self) -> np.ndarray[Any, Any]:
        """Return a read-only view, no copy; bf16 and fp8 as the integers of their bits."""
        dtype = RAW_DTYPES.get(self.dtype, self.dtype)
        view = np.frombuffer(self.data, dtype=dtype).reshape(self.shape)
        view.flags.writeable = False
        return view

    def to_numpy_float32(self) -> np.ndarray[Any, Any]:
        """Return the values as float32: exact for every float of at most 32 bits."""
        return float32_values(self.to_numpy(), self.dtype)


def float32_values(raw: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """Return the values behind ``raw``, which holds ``dtype`` as ``to_numpy`` gives it.

    Args:
        raw: Any shape and strides; for bf16 and fp8 the integers of their bits.
        dtype: A key of ``SAFETENSORS_NAMES``.
    """
    if dtype == "bfloat16":
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype == "float8_e5m2":
        # e5m2 is the upper byte of a float16.
        return (raw.astype(np.uint16) << np.uint16(8)).view(np.float16).astype(np.float32)
    if dtype == "float8_e4m3fn":
        return np.asarray(_e4m3fn_table()[raw])
    return raw.astype(np.float32)


@cache
def _e4m3fn_table() -> np.ndarray[Any, Any]:
    """Return the 256 values of e4m3fn: bias 7, no infinity, NaN only at 0x7f and 0xff.

    Source: Micikevicius et al., "FP8 Formats for Deep Learning", 2022, table 1.
    """
    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    normal = np.ldexp(1.0 + mantissa / 8.0, exponent - 7)
    magnitude = np.where(exponent == 0, np.ldexp(mantissa / 8.0, -6), normal)
    values = np.where(codes >> 7, -magnitude, magnitude).astype(np.float32)
    values[[0x7F, 0xFF]] = np.nan
    return values


def as_tensor_bytes(fields: Mapping[str, object]) -> dict[str, TensorBytes]:
    """Return ``fields`` with every numpy array turned into ``TensorBytes``.

    Raises:
        TypeError: A value is neither a numpy array nor ``TensorBytes``.
    """
    return {name: _as_tensor_bytes(name, value) for name, value in fields.items()}


def as_tensor_sources(
    fields: Mapping[str, np.ndarray[Any, Any] | TensorSource],
) -> dict[str, TensorSource]:
    """Return ``fields`` with every numpy array turned into ``TensorBytes``."""
    return {
        name: TensorBytes.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in fields.items()
    }


def _as_tensor_bytes(name: str, value: object) -> TensorBytes:
    if isinstance(value, TensorBytes):
        return value
    if isinstance(value, np.ndarray):
        return TensorBytes.from_numpy(value)
    raise TypeError(
        f"field {name} must be a numpy array or TensorBytes, got {type(value).__name__}"
    )
