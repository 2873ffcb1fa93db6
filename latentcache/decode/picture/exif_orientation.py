"""EXIF orientation: how stored pixels are turned before anyone looks at them."""

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from latentcache.decode.reject_reasons import DECODER_ERRORS

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, of an opened picture, without decoding it.

    1 where there is none, where the EXIF block is broken, and for TIFF, whose decoder
    turns the pixels itself. AVIF's own rotation and mirror arrive here as EXIF. What a PNG
    says behind its pixels is not seen.
    """
    if image.format == "TIFF":
        return 1
    try:
        # The base class's method: that of PNG decodes the whole picture first.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except DECODER_ERRORS:
        return 1
    return orientation if orientation in range(2, 9) else 1


def turned_upright(pixels_HWC: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return stored pixels as they are looked at; a view.

    Source: Exif 3.0, table "Orientation": which corner the first stored row and column are at.
    """
    if swaps_axes(orientation):
        pixels_HWC = pixels_HWC.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels_HWC = pixels_HWC[::-1]
    if orientation in (2, 3, 6, 7):
        pixels_HWC = pixels_HWC[:, ::-1]
    return pixels_HWC


def swaps_axes(orientation: int) -> bool:
    """Return whether width and height change places."""
    return orientation >= 5


def oriented_size(size_px: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return (width, height) after orientation."""
    return (size_px[1], size_px[0]) if swaps_axes(orientation) else size_px


def stored_box(box: Box, upright_size: tuple[int, int], orientation: int) -> Box:
    """Return where a box of the upright picture lies in the stored pixels.

    Args:
        box: In the upright picture.
        upright_size: (width, height) of the upright picture.
        orientation: EXIF, 1 to 8.
    """
    left, top, right, bottom = box
    width, height = upright_size
    if orientation in (2, 3, 6, 7):
        left, right = width - right, width - left
    if orientation in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if swaps_axes(orientation) else (left, top, right, bottom)
