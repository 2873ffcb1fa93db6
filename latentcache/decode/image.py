"""A picture's bytes to its bucket's pixels.

The stored pixels are resized as they lie, cropped, and the small result is turned upright,
since turning 256 px is cheaper than turning 24 megapixels.
"""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.core.rejects import RejectCode
from latentcache.decode.colour import to_resizable, to_srgb
from latentcache.decode.jpeg import decode_plain_jpeg, load_reduced, reduced_size
from latentcache.decode.opening import open_image
from latentcache.decode.options import ImageLimits, ImageTransform
from latentcache.decode.orient import (
    Box,
    oriented_size,
    read_orientation,
    stored_box,
    turned_upright,
)
from latentcache.decode.resize import resized

Pixels = NDArray[np.uint8]


def decode_image(
    data: bytes,
    bucket: Bucket,
    geometry: Geometry,
    *,
    transform: ImageTransform,
    limits: ImageLimits,
) -> NDArray[np.uint8]:
    """Return one picture as the encoder sees it: sRGB, uint8 (H, W, 3), contiguous.

    Of animated files this is the first frame.

    Args:
        data: The whole file.
        bucket: The size to return; one frame.
        geometry: How the upright source is resized and cropped.
        transform: Colour and resize rules.
        limits: What is refused.

    Raises:
        MediaError: The file cannot be decoded whole, or is not of the planned size.
    """
    assert geometry.crop_left_px + bucket.width_px <= geometry.resized_width_px
    assert geometry.crop_top_px + bucket.height_px <= geometry.resized_height_px
    with open_image(BytesIO(data), size_bytes=len(data), limits=limits) as image:
        orientation = read_orientation(image)
        _check_size(oriented_size(image.size, orientation), geometry)
        wanted_px = oriented_size(
            (geometry.resized_width_px, geometry.resized_height_px), orientation
        )
        icc_profile = image.info.get("icc_profile")
        mode, pixels_HWC, source_px = _stored_pixels(image, data, wanted_px, transform)
        left, top, right, bottom = _crop_box(bucket, geometry, orientation)
        small_HWC = resized(pixels_HWC, wanted_px, source_px=source_px, corner_px=(right, bottom))
        upright_HWC = turned_upright(small_HWC[top:, left:], orientation)
        return to_srgb(upright_HWC, mode, icc_profile=icc_profile, background=transform.background)


def _check_size(found_px: tuple[int, int], geometry: Geometry) -> None:
    planned_px = (geometry.source_width_px, geometry.source_height_px)
    if found_px != planned_px:
        raise MediaError(
            RejectCode.SIZE_MISMATCH.word,
            f"the picture is {found_px[0]}x{found_px[1]} px, but the plan says "
            f"{planned_px[0]}x{planned_px[1]} px; plan the corpus again",
        )


def _stored_pixels(
    image: ImageFile.ImageFile, data: bytes, wanted_px: tuple[int, int], transform: ImageTransform
) -> tuple[str, Pixels, tuple[float, float]]:
    """Return the picture as it is stored: mode, uint8 (H, W, C), and the size it stands for.

    A JPEG can be decoded at 1/2, 1/4 or 1/8 in less time. That is done only if what comes
    out is still ``reducing_gap`` times the resized picture. An odd side is rounded up then, so
    the pixels stand for a little less than they are.
    """
    size_px, divisor = image.size, 1
    if image.format in ("JPEG", "MPO"):
        divisor, width, height = reduced_size(size_px, wanted_px, transform.reducing_gap)
        plain = decode_plain_jpeg(data, image.mode, (width, height))
        if plain is not None:
            return image.mode, plain, (size_px[0] / divisor, size_px[1] / divisor)
        load_reduced(image, divisor)
    else:
        image.load()
    resizable = to_resizable(image)
    pixels_HWC = np.asarray(resizable).reshape(resizable.height, resizable.width, -1)
    return resizable.mode, pixels_HWC, (size_px[0] / divisor, size_px[1] / divisor)


def _crop_box(bucket: Bucket, geometry: Geometry, orientation: int) -> Box:
    """Return the crop in the resized picture that is not upright yet."""
    left, top = geometry.crop_left_px, geometry.crop_top_px
    upright = (left, top, left + bucket.width_px, top + bucket.height_px)
    size = (geometry.resized_width_px, geometry.resized_height_px)
    return stored_box(upright, size, orientation)
