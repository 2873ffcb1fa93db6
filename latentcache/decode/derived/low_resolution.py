"""Low resolution: what is left of a picture after it was made N times smaller, at its own size.

Dimension letters: H height, W width, C channels.
"""

import math

import numpy as np
from numpy.typing import NDArray

VERSION = 1

_ONE = 1 << 8


def low_resolution(pixels_HWC: NDArray[np.uint8], factor: float | None) -> NDArray[np.uint8]:
    """Return pixels averaged over blocks of ``factor`` px, then enlarged again, linearly.

    As super-resolution models are conditioned: the size stays, the detail goes. In whole numbers,
    so that every machine makes the same bits.

    Args:
        pixels_HWC: uint8.
        factor: Edge of a block in pixels, rounded to a whole number; blocks at the right and lower
            edge may be smaller.
    """
    assert factor is not None, "an input says how much"
    edge = max(1, round(factor))
    small = _shrunk(_shrunk(pixels_HWC.astype(np.uint32), edge, 0), edge, 1)
    height, width = pixels_HWC.shape[:2]
    return _grown(_grown(small, edge, height, 0), edge, width, 1).astype(np.uint8)


def _shrunk(values: NDArray[np.uint32], edge: int, axis: int) -> NDArray[np.uint32]:
    length = values.shape[axis]
    starts = np.arange(0, length, edge)
    counts = np.diff([*starts.tolist(), length])
    shape = [-1 if each == axis else 1 for each in range(values.ndim)]
    sums = np.add.reduceat(values, starts, axis=axis, dtype=np.uint32)
    found: NDArray[np.uint32] = (2 * sums + counts.reshape(shape)) // (2 * counts.reshape(shape))
    return found.astype(np.uint32)


def _grown(values: NDArray[np.uint32], edge: int, length: int, axis: int) -> NDArray[np.uint32]:
    """Return values along an axis at every pixel, between the middles of the blocks."""
    last = values.shape[axis] - 1
    before, share = [], []
    for at in range(length):
        middle = (at + 0.5) / edge - 0.5
        first = math.floor(middle)
        before.append(min(max(first, 0), last))
        share.append(round((middle - first) * _ONE) if 0 <= first < last else 0)
    after = np.minimum(np.array(before) + 1, last)
    shape = [-1 if each == axis else 1 for each in range(values.ndim)]
    weight = np.array(share, np.uint32).reshape(shape)
    one, other = np.take(values, before, axis=axis), np.take(values, after, axis=axis)
    found: NDArray[np.uint32] = (one * (_ONE - weight) + other * weight + _ONE // 2) >> 8
    return found.astype(np.uint32)
