"""Stored values of a batch: their bytes for the tar, and what a reader will see, for statistics."""

import numpy as np
import numpy.typing as npt
import torch

from latentcache.store import TensorBytes


def row_payloads(values: torch.Tensor | list[torch.Tensor]) -> list[TensorBytes]:
    """Return one payload per row of ``values``, as raw bytes without a copy."""
    if isinstance(values, list):
        return [payload for row in values for payload in row_payloads(row[None])]
    if not len(values):
        return []
    dtype = str(values.dtype).removeprefix("torch.")
    shape = tuple(values.shape[1:])
    if not values.numel():
        return [TensorBytes(dtype, shape, b"")] * len(values)
    data = values.reshape(values.shape[0], -1).contiguous().view(torch.uint8).numpy()
    return [TensorBytes(dtype, shape, memoryview(row)) for row in data]


def float32_of(values: torch.Tensor) -> npt.NDArray[np.float32] | npt.NDArray[np.int64]:
    """Return the stored values for statistics: what a reader will see, in float32."""
    if values.is_floating_point():
        as_float32: npt.NDArray[np.float32] = values.to(torch.float32).numpy()
        return as_float32
    as_int64: npt.NDArray[np.int64] = values.to(torch.int64).numpy()
    return as_int64
