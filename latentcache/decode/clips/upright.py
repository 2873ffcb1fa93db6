"""How a decoded frame is turned and mirrored before anyone looks at it."""

import struct
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Upright:
    """One of the eight ways to lay a rectangle: transposed first, then flipped.

    Attributes:
        is_transposed: Rows become columns.
        flips_x: Left and right then change places.
        flips_y: Top and bottom then change places.
    """

    is_transposed: bool = False
    flips_x: bool = False
    flips_y: bool = False

    def size_px(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Return (width, height) after it, or before it."""
        return size_px[::-1] if self.is_transposed else size_px

    def apply(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return a view of pixels (H, W, ...) laid upright."""
        laid = np.swapaxes(pixels, 0, 1) if self.is_transposed else pixels
        return laid[:: -1 if self.flips_y else 1, :: -1 if self.flips_x else 1]


def upright_of(frame: VideoFrame) -> Upright:
    """Return how a frame becomes upright, by its display matrix.

    A matrix that is of no quarter turn counts as the nearest; one without sense as none.
    """
    matrix = _display_matrix(frame)
    if matrix is None:
        return _TURNS[round(frame.rotation / 90) % 4]
    a, b, c, d = matrix  # x' = a x + c y, y' = b x + d y; source: ISO/IEC 14496-12, 6.2.2
    if not a * d - b * c:
        return Upright()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Upright(is_transposed=True, flips_x=c < 0, flips_y=b < 0)
    return Upright(flips_x=a < 0, flips_y=d < 0)


_TURNS = (
    Upright(),
    Upright(is_transposed=True, flips_y=True),
    Upright(flips_x=True, flips_y=True),
    Upright(is_transposed=True, flips_x=True),
)
"""By quarter turns, counterclockwise."""


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """Return its four numbers that turn; None where it cannot be read."""
    try:
        data = bytes(cast(Any, frame.side_data)[Type.DISPLAYMATRIX])
    except (KeyError, ValueError):
        # None is there; or PyAV 18.1 cannot list the side data of a frame that carries EXIF.
        return None
    a, b, _, c, d = struct.unpack("=5i", data[:20])
    return a, b, c, d
