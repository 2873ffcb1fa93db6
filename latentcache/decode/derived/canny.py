"""Canny: edges as white lines on black, as ControlNets are conditioned.

Source: J. Canny, "A computational approach to edge detection", 1986; thresholds, the Sobel operator
and |dx| + |dy| as OpenCV's ``Canny(picture, 100, 200)``. In whole numbers, so that every machine
makes the same bits.

Dimension letters: H height, W width, C channels.
"""

import numpy as np
from numpy.typing import NDArray

from latentcache.decode.derived.blur import smoothed
from latentcache.decode.derived.grey import luma

VERSION = 1

_WEAK, _STRONG = 100, 200
_SIGMA_PX = 1.0

Flags = NDArray[np.bool_]
Slopes = NDArray[np.int32]


def canny(pixels_HWC: NDArray[np.uint8], _: float | None = None) -> NDArray[np.uint8]:
    """Return the edges of a picture, uint8 (H, W, 3): 255 where there is one."""
    across, down = _slopes(smoothed(luma(pixels_HWC), _SIGMA_PX))
    thin = _thinned(across, down)
    edges = _joined(thin > _STRONG, thin > _WEAK)
    return np.repeat(edges[..., None].astype(np.uint8) * 255, 3, axis=2)


def _slopes(grey_HW: NDArray[np.uint8]) -> tuple[Slopes, Slopes]:
    """Return Sobel's derivatives to the right and downwards; edges are repeated outwards."""
    padded = np.pad(grey_HW.astype(np.int32), 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    columns = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2]


def _thinned(across: Slopes, down: Slopes) -> Slopes:
    """Return the slope where it is the largest across its edge, 0 elsewhere.

    Of four directions the nearest counts; tan 22.5 degrees is taken for 53 / 128.
    """
    size = np.abs(across) + np.abs(down)
    flat = np.abs(down) * 128 <= np.abs(across) * 53
    steep = np.abs(across) * 128 <= np.abs(down) * 53
    falls = (across >= 0) == (down >= 0)
    padded = np.pad(size, 1)

    def shifted(rows: int, columns: int) -> Slopes:
        height, width = size.shape
        return padded[1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    before = np.where(flat, shifted(0, -1), np.where(steep, shifted(-1, 0), np.where(
        falls, shifted(-1, -1), shifted(-1, 1))))  # fmt: skip
    after = np.where(flat, shifted(0, 1), np.where(steep, shifted(1, 0), np.where(
        falls, shifted(1, 1), shifted(1, -1))))  # fmt: skip
    # Of two equal neighbours the first is the edge, so that it is one pixel wide.
    return np.where((size > before) & (size >= after), size, 0).astype(np.int32)


def _joined(strong: Flags, weak: Flags) -> Flags:
    """Return the weak edges that hang together with a strong one, over all eight neighbours."""
    found = strong
    while True:
        padded = np.pad(found, 1)
        near = np.zeros_like(found)
        height, width = found.shape
        for row in range(3):
            for column in range(3):
                near |= padded[row : row + height, column : column + width]
        grown = near & weak | strong
        if np.array_equal(grown, found):
            return found
        found = grown
