"""Blur: a Gaussian, in whole numbers, so that every machine makes the same bits.

Dimension letters: H height, W width, C channels.
"""

import math

import numpy as np
from numpy.typing import NDArray

VERSION = 1

_ONE = 1 << 12
"""Weights add up to this: two passes over 8-bit pixels stay within 32 bits."""
_REACH = 3
"""Standard deviations on each side that count."""


def weights(sigma_px: float) -> list[int]:
    """Return the weights of the pixels around one, whole numbers that add up to 4,096."""
    reach = max(1, math.ceil(_REACH * sigma_px))
    plain = [math.exp(-0.5 * (at / sigma_px) ** 2) for at in range(-reach, reach + 1)]
    found = [round(_ONE * each / math.fsum(plain)) for each in plain]
    found[reach] += _ONE - sum(found)
    return found


def smoothed(values: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    """Return values (H, W, ...) blurred along both axes; edges are repeated outwards."""
    found = values.astype(np.uint32)
    for axis in (0, 1):
        found = _along(found, weights(sigma_px), axis)
    return found.astype(np.uint8)


def _along(values: NDArray[np.uint32], row: list[int], axis: int) -> NDArray[np.uint32]:
    reach, length = len(row) // 2, values.shape[axis]
    pads = [(reach, reach) if each == axis else (0, 0) for each in range(values.ndim)]
    padded = np.pad(values, pads, mode="edge")
    total = np.full_like(values, _ONE // 2)
    for start, weight in enumerate(row):
        if weight:
            moved = np.take(padded, np.arange(start, start + length), axis=axis)
            total += np.uint32(weight) * moved
    return np.right_shift(total, np.uint32(12))


def blur(pixels_HWC: NDArray[np.uint8], sigma_px: float | None) -> NDArray[np.uint8]:
    """Return pixels blurred by a Gaussian of this standard deviation."""
    assert sigma_px is not None, "an input says how much"
    return smoothed(pixels_HWC, sigma_px)
