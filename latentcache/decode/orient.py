"""EXIF orientation: how stored pixels are turned before anyone looks at them."""

from PIL import ExifTags, Image

from latentcache.decode.reasons import DECODER_ERRORS

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""

#: How stored pixels become upright, by EXIF orientation; 1 needs nothing.
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
    return orientation if orientation in TRANSPOSITIONS else 1


def swaps_axes(orientation: int) -> bool:
    """Return whether width and height change places."""
    return orientation >= 5


def oriented_size(size_px: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return (width, height) after orientation."""
    return (size_px[1], size_px[0]) if swaps_axes(orientation) else size_px


def stored_box(box: Box, upright_size: tuple[float, float], orientation: int) -> Box:
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
