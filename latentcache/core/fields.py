"""Fields: the named tensors that an encoder leaves per sample, and their storage dtypes."""

from dataclasses import dataclass
from typing import Literal

FieldKind = Literal["mean", "logvar", "std", "point", "sample", "indices", "aux"]
"""``mean``/``logvar`` of a Gaussian posterior, a deterministic ``point``, a drawn ``sample`` ..."""

DTYPE_BYTES: dict[str, int] = {
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "uint8": 1,
    "int8": 1,
    "uint16": 2,
    "int16": 2,
    "int32": 4,
    "int64": 8,
}
"""Storage dtypes of format 1, by torch's name, with their size."""

FLOAT_DTYPES = frozenset(name for name in DTYPE_BYTES if "float" in name)

STATISTICS_FIELDS = ("mean", "z", "sample")
"""The field that statistics and normalization speak of: the first of these a sample has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One stored tensor of one sample.

    Attributes:
        name: ``mean``, ``logvar``, ``z``, ``sample``, ``indices``, ``z3_g2`` ...
        kind: What it is, for statistics and for the posterior policy.
        axes: One letter per dimension: ``CHW``, ``CTHW``, ``NC``, ``THW``, ``QT``.
        channels: Size of the ``C`` axis; None without one.
        dtype: Storage dtype, a key of ``DTYPE_BYTES``.
        broadcast: Axes stored once for all, e.g. ``C`` for LTX's shared log-variance.
    """

    name: str
    kind: FieldKind
    axes: str
    channels: int | None
    dtype: str
    broadcast: str = ""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPE_BYTES:
            known = ", ".join(DTYPE_BYTES)
            raise ValueError(
                f"dtype must be one of {known}, got {self.dtype!r} (field {self.name})"
            )


DTYPE_NAMES = {
    "bf16": "bfloat16", "fp16": "float16", "f16": "float16", "half": "float16",
    "fp32": "float32", "f32": "float32", "float": "float32", "fp8": "float8_e4m3fn",
}  # fmt: skip
"""Dtypes as people say them."""


def dtype_name(text: str) -> str:
    """Return the whole name of a dtype; what is none is told by who takes it."""
    return DTYPE_NAMES.get(text.strip().lower(), text.strip())
