"""Published normalisation: the two forms in which models state it."""

from collections.abc import Iterable
from typing import Literal

from latentcache.encoders.spec import Normalizer, NormalizerOp

Source = Literal["config", "buffer", "file", "preset"]


def scaled(scale: float, *, source: Source = "config") -> Normalizer:
    """Return ``z * scale``."""
    return Normalizer(ops=(NormalizerOp(op="multiply", values=(scale,)),), source=source)


def standardized(
    mean: Iterable[float], std: Iterable[float], *, scale: float = 1.0, source: Source = "config"
) -> Normalizer:
    """Return ``(z - mean) * scale / std``, per channel."""
    subtract = NormalizerOp(op="subtract", values=tuple(float(value) for value in mean))
    divide = NormalizerOp(op="divide", values=tuple(float(value) / scale for value in std))
    return Normalizer(ops=(subtract, divide), source=source)
