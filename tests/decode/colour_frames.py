"""Frames of known colours, and what they show by the definition of their matrix and range."""

import av
import numpy as np
from numpy.typing import NDArray

LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114),
        7: (0.212, 0.087), 9: (0.2627, 0.0593)}  # fmt: skip
"""Weights of red and blue; source: ITU-T H.273, table 4."""
YCGCO = 8
BLOCK = 16
Numbers = NDArray[np.int64]


def random_colours(rows: int = 24, columns: int = 32) -> NDArray[np.float64]:
    """Return colours from 0 to 1, (rows, columns, 3)."""
    return np.random.default_rng(0).integers(0, 256, (rows, columns, 3)) / 255


def numbers_of(
    colours: NDArray[np.float64], *, matrix: int, is_full: bool, bits: int
) -> list[Numbers]:
    """Return luma and chroma as a camera writes them."""
    red, green, blue = np.moveaxis(colours, -1, 0)
    if matrix == YCGCO:
        luma = (red + 2 * green + blue) / 4
        cb, cr = (2 * green - red - blue) / 4, (red - blue) / 2
    else:
        of_red, of_blue = LUMA[matrix]
        luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
        cb, cr = (blue - luma) / (2 - 2 * of_blue), (red - luma) / (2 - 2 * of_red)
    step, largest = 2 ** (bits - 8), 2**bits - 1
    found = []
    for values, span, zero in ((luma, 219, 16), (cb, 224, 128), (cr, 224, 128)):
        if is_full:
            numbers = values * largest + (0 if zero == 16 else 2 ** (bits - 1))
        else:
            numbers = step * (span * values + zero)
        found.append(np.clip(np.round(numbers), 0, largest).astype(np.int64))
    return found


def shown(numbers: list[Numbers], *, matrix: int, is_full: bool, bits: int) -> NDArray[np.float64]:
    """Return what numbers show, as levels from 0 to 255, not rounded."""
    step, largest = 2 ** (bits - 8), 2**bits - 1
    if is_full:
        luma = numbers[0] / largest
        cb, cr = ((each - 2 ** (bits - 1)) / largest for each in numbers[1:])
    else:
        luma = (numbers[0] / step - 16) / 219
        cb, cr = ((each / step - 128) / 224 for each in numbers[1:])
    if matrix == YCGCO:
        rgb = [luma - cb + cr, luma + cb, luma - cb - cr]
    else:
        of_red, of_blue = LUMA[matrix]
        red, blue = luma + 2 * (1 - of_red) * cr, luma + 2 * (1 - of_blue) * cb
        rgb = [red, (luma - of_red * red - of_blue * blue) / (1 - of_red - of_blue), blue]
    return np.clip(np.stack(rgb, axis=-1), 0, 1) * 255


def frame_of(numbers: list[Numbers], pixel_format: str, *, bits: int) -> av.VideoFrame:
    """Return a frame of planes, each number a block of 16 x 16 pixels."""
    height, width = (side * BLOCK for side in numbers[0].shape)
    frame = av.VideoFrame(width, height, pixel_format)
    kind = np.dtype(np.uint8 if bits == 8 else "<u2")
    for plane, values in zip(frame.planes, numbers, strict=True):
        blocks = np.repeat(values, plane.height // values.shape[0], axis=0)
        blocks = np.repeat(blocks, plane.width // values.shape[1], axis=1).astype(kind)
        lines = np.frombuffer(memoryview(plane), kind).reshape(-1, plane.line_size // kind.itemsize)
        lines[: plane.height, : plane.width] = blocks
    return frame


def middles(pixels: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float64]:
    """Return the middle of each block of what was made of a frame, at any size."""
    down, across = pixels.shape[0] // rows, pixels.shape[1] // columns
    return pixels[down // 2 :: down, across // 2 :: across].astype(float)
