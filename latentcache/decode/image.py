"""A picture's bytes to its bucket's pixels.

Only the crop is resampled: `resize` takes the crop as a box of the source. The box is
turned into stored pixels and the small result is turned upright, since turning 256 px is
cheaper than turning 24 megapixels.
"""

import math
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.core.rejects import RejectCode
from latentcache.decode.colour import to_resizable, to_srgb
from latentcache.decode.opening import open_image
from latentcache.decode.options import ImageLimits, ImageTransform
from latentcache.decode.orient import (
    TRANSPOSITIONS,
    Box,
    oriented_size,
    read_orientation,
    stored_box,
)


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
        scale = _load(image, geometry, orientation, transform)
        icc_profile = image.info.get("icc_profile")
        pixels = to_resizable(image)
        small = pixels.resize(
            oriented_size((bucket.width_px, bucket.height_px), orientation),
            Image.Resampling.LANCZOS,
            box=_source_box(bucket, geometry, orientation, scale),
            reducing_gap=transform.reducing_gap,
        )
        if orientation in TRANSPOSITIONS:
            small = small.transpose(TRANSPOSITIONS[orientation])
        rgb = to_srgb(small, icc_profile=icc_profile, background=transform.background)
        return np.array(rgb)  # a copy: a view of Pillow's memory is read-only


def _check_size(found_px: tuple[int, int], geometry: Geometry) -> None:
    planned_px = (geometry.source_width_px, geometry.source_height_px)
    if found_px != planned_px:
        raise MediaError(
            RejectCode.SIZE_MISMATCH.word,
            f"the picture is {found_px[0]}x{found_px[1]} px, but the plan says "
            f"{planned_px[0]}x{planned_px[1]} px; plan the corpus again",
        )


def _load(
    image: ImageFile.ImageFile, geometry: Geometry, orientation: int, transform: ImageTransform
) -> float:
    """Decode the pixels and return how much smaller than the source they are (1 to 8).

    A JPEG can be decoded at 1/2, 1/4 or 1/8 in less time. That is done only if what comes
    out is still ``reducing_gap`` times the resized picture.
    """
    stored_px = image.size
    scale = 1.0
    if image.format in ("JPEG", "MPO"):
        wanted = (geometry.resized_width_px, geometry.resized_height_px)
        width_px, height_px = oriented_size(wanted, orientation)
        gap = transform.reducing_gap
        drafted = image.draft(None, (math.ceil(width_px * gap), math.ceil(height_px * gap)))
        if drafted is not None:
            scale = stored_px[0] / drafted[1][2]
    expected_px = image.size
    image.load()
    if image.size != expected_px:
        _check_size(oriented_size(image.size, orientation), geometry)
    return scale


def _source_box(bucket: Bucket, geometry: Geometry, orientation: int, scale: float) -> Box:
    """Return the crop in the decoded pixels' own coordinates."""
    x_ratio = geometry.source_width_px / geometry.resized_width_px
    y_ratio = geometry.source_height_px / geometry.resized_height_px
    upright = (
        geometry.crop_left_px * x_ratio,
        geometry.crop_top_px * y_ratio,
        min((geometry.crop_left_px + bucket.width_px) * x_ratio, geometry.source_width_px),
        min((geometry.crop_top_px + bucket.height_px) * y_ratio, geometry.source_height_px),
    )
    size = (geometry.source_width_px, geometry.source_height_px)
    left, top, right, bottom = stored_box(upright, size, orientation)
    return (max(0.0, left / scale), max(0.0, top / scale), right / scale, bottom / scale)
