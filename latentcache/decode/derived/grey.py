"""Grey: brightness alone, three times, as a model that colours pictures is conditioned.

Dimension letters: H height, W width, C channels.
"""

import numpy as np
from numpy.typing import NDArray

VERSION = 1

_RED, _GREEN, _BLUE = 4899, 9617, 1868
"""Of 16,384: Rec. 601's 0.299, 0.587 and 0.114, as OpenCV and Pillow round them."""


def luma(pixels_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the brightness of sRGB pixels, uint8 (H, W), rounded half up."""
    red, green, blue = (pixels_HWC[..., each].astype(np.uint32) for each in range(3))
    return ((red * _RED + green * _GREEN + blue * _BLUE + 8192) >> 14).astype(np.uint8)


def grey(pixels_HWC: NDArray[np.uint8], _: float | None = None) -> NDArray[np.uint8]:
    """Return pixels without colour, uint8 (H, W, 3)."""
    return np.repeat(luma(pixels_HWC)[..., None], 3, axis=2)
