"""JPEG files to 8-bit values, at full size or at 1/2, 1/4 or 1/8 of it.

Pillow and simplejpeg decode with the same library to the same bits, but Pillow copies the
pixels three times on the way to an array. simplejpeg stops at the first oddity of a file; what
it refuses is decoded, or refused with a reason, by Pillow.
"""

import math

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ImageFile

Pixels = NDArray[np.uint8]

_ASKED = {("L", "Gray"): "GRAY", ("RGB", "YCbCr"): "RGB", ("RGB", "RGB"): "RGB"}
"""By Pillow's mode and what the file holds: what is asked of simplejpeg."""


def reduced_size(
    size_px: tuple[int, int], wanted_px: tuple[int, int], gap: float
) -> tuple[int, int, int]:
    """Return by what a JPEG is divided while it is decoded, and its (width, height) then.

    The largest of 8, 4, 2 and 1 that leaves ``gap`` times what is wanted. (Scales between
    them, such as 7/8, take longer than a whole decode.)

    Args:
        size_px: (width, height) of the file.
        wanted_px: (width, height) that lanczos will make of it.
        gap: How many times larger than wanted it stays.
    """
    least = [math.ceil(side * gap) for side in wanted_px]
    factor = min(size_px[0] // least[0], size_px[1] // least[1])
    divisor = next((number for number in (8, 4, 2) if factor >= number), 1)
    return divisor, -(-size_px[0] // divisor), -(-size_px[1] // divisor)


def decode_plain_jpeg(data: bytes, mode: str, size_px: tuple[int, int]) -> Pixels | None:
    """Return the pixels of a grey or YCbCr JPEG, uint8 (H, W, 1 or 3).

    Args:
        data: The whole file.
        mode: What Pillow calls its colours.
        size_px: (width, height) to decode at, as ``reduced_size`` gives it.

    Returns:
        None where it is another kind of JPEG, or anything about it is odd.
    """
    width, height = size_px
    try:
        told = simplejpeg.decode_jpeg_header(data, min_height=height, min_width=width)
        asked = _ASKED.get((mode, told[2]))
        if asked is None or told[:2] != (height, width):
            return None
        pixels: Pixels = simplejpeg.decode_jpeg(
            data, asked, min_height=height, min_width=width, strict=True
        )
    except ValueError:
        return None
    return pixels if pixels.shape[:2] == (height, width) else None


def load_reduced(image: ImageFile.ImageFile, divisor: int) -> None:
    """Decode any JPEG with Pillow at a size that ``reduced_size`` gave."""
    if divisor > 1:
        # The largest divisor that leaves as much as is asked for is taken.
        image.draft(None, (image.width // divisor, image.height // divisor))
    image.load()
