"""A picture's bytes to its bucket's pixels.

The stored pixels are resized as they lie, cropped, and the small result is turned upright,
since turning 256 px is cheaper than turning 24 megapixels. Of a picture that is cut in several
ways they are decoded once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.core.rejects import RejectCode
from latentcache.decode.picture.colour import to_resizable, to_srgb
from latentcache.decode.picture.exif_orientation import (
    Box,
    oriented_size,
    read_orientation,
    stored_box,
    turned_upright,
)
from latentcache.decode.picture.jpeg import decode_plain_jpeg, load_reduced, reduced_size
from latentcache.decode.picture.open_picture import open_image
from latentcache.decode.picture.picture_tag import read_tag
from latentcache.decode.pixel_options import ImageLimits, ImageTransform, Reading
from latentcache.decode.pixels.deep import is_deep_png, read_deep_png, spread_key
from latentcache.decode.pixels.gamut import ColourTag
from latentcache.decode.pixels.resize import nearest, resized

Pixels = NDArray[np.uint8]


def decode_image(
    data: bytes,
    bucket: Bucket,
    geometry: Geometry,
    *,
    transform: ImageTransform,
    limits: ImageLimits,
    reading: Reading = "colour",
) -> NDArray[np.uint8]:
    """Return one picture as the encoder sees it: sRGB, uint8 (H, W, 3), contiguous.

    Of animated files this is the first frame.

    Args:
        data: The whole file.
        bucket: The size to return; one frame.
        geometry: How the upright source is resized and cropped.
        transform: Colour and resize rules.
        limits: What is refused.
        reading: ``alpha`` gives how opaque each pixel is, as grey, 255 where a picture has no
            alpha; ``nearest`` takes each pixel of one of the file's, as labels need.

    Raises:
        MediaError: The file cannot be decoded whole, or is not of the planned size.
    """
    (pixels_HWC,) = decode_cuts(
        data, bucket, (geometry,), transform=transform, limits=limits, reading=reading
    )
    return pixels_HWC


def decode_cuts(
    data: bytes,
    bucket: Bucket,
    geometries: Sequence[Geometry],
    *,
    transform: ImageTransform,
    limits: ImageLimits,
    reading: Reading = "colour",
) -> Iterator[Pixels]:
    """Yield several cuts of one picture, each as ``decode_image`` would return it, byte for byte.

    Args:
        data: The whole file.
        bucket: The size of each.
        geometries: Apart in where they are cut, and in what is mirrored, alone.
        transform: See ``decode_image``.
        limits: See ``decode_image``.
        reading: See ``decode_image``.

    Raises:
        MediaError: See ``decode_image``.
    """
    geometry = geometries[0]
    assert len({each.uncut for each in geometries}) == 1, "cuts of one size"
    with open_image(BytesIO(data), size_bytes=len(data), limits=limits) as image:
        orientation = read_orientation(image)
        _check_size(oriented_size(image.size, orientation), geometry)
        wanted_px = oriented_size(
            (geometry.resized_width_px, geometry.resized_height_px), orientation
        )
        icc_profile, tag = image.info.get("icc_profile"), read_tag(image, data)
        _check_hdr(tag, transform)
        decoded_px = image.size if reading == "nearest" else wanted_px
        stored = _stored_pixels(image, data, decoded_px, transform, tag)
        done: dict[Box, Pixels] = {}
        for geometry in geometries:
            box = _crop_box(bucket, geometry, orientation)
            if box not in done:
                small_HWC = _cut(stored, box, wanted_px, is_nearest=reading == "nearest")
                upright_HWC = turned_upright(small_HWC, orientation)
                if reading == "alpha":
                    done[box] = _alpha(upright_HWC, stored.mode)
                else:
                    done[box] = to_srgb(
                        upright_HWC,
                        stored.mode,
                        icc_profile=icc_profile,
                        tag=stored.tag,
                        background=transform.background,
                    )
            yield _flipped(done[box], geometry)


def _cut(stored: "_Stored", box: Box, wanted_px: tuple[int, int], *, is_nearest: bool) -> Pixels:
    """Return a cut of the resized picture, which is not upright yet."""
    left, top, right, bottom = box
    if is_nearest:
        small_HWC = nearest(stored.pixels_HWC, wanted_px)[:bottom, :right]
    else:
        # One resize for each corner: a larger one may differ in the last bit.
        small_HWC = resized(
            stored.pixels_HWC, wanted_px, source_px=stored.source_px, corner_px=(right, bottom)
        )
    return small_HWC[top:, left:]


def _flipped(pixels_HWC: Pixels, geometry: Geometry) -> Pixels:
    """Return pixels mirrored, left for right, where that is planned: the last step of all."""
    return np.ascontiguousarray(pixels_HWC[:, ::-1]) if geometry.is_flipped else pixels_HWC


def _alpha(pixels_HWC: Pixels, mode: str) -> Pixels:
    """Return how opaque pixels are, as grey, (H, W, 3)."""
    has_alpha = mode in ("La", "RGBa")
    opaque = pixels_HWC[..., -1:] if has_alpha else np.full_like(pixels_HWC[..., -1:], 255)
    return np.repeat(opaque, 3, axis=2)


def _check_size(found_px: tuple[int, int], geometry: Geometry) -> None:
    planned_px = (geometry.source_width_px, geometry.source_height_px)
    if found_px != planned_px:
        raise MediaError(
            RejectCode.SIZE_MISMATCH.word,
            f"the picture is {found_px[0]}x{found_px[1]} px, but the plan says "
            f"{planned_px[0]}x{planned_px[1]} px; plan the corpus again",
        )


def _check_hdr(tag: ColourTag | None, transform: ImageTransform) -> None:
    if tag is not None and tag.is_hdr and transform.hdr == "refuse":
        raise MediaError(
            RejectCode.UNSUPPORTED.word,
            f"the picture is HDR ({tag.curve.upper()}), which the transform refuses",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A picture as it is stored: not resized, not upright.

    Attributes:
        mode: L, La, RGB, RGBa or CMYK.
        pixels_HWC: uint8.
        source_px: (width, height) that they stand for.
        tag: What the numbers mean; None where a profile says it.
    """

    mode: str
    pixels_HWC: Pixels
    source_px: tuple[float, float]
    tag: ColourTag | None


def _stored_pixels(
    image: ImageFile.ImageFile,
    data: bytes,
    wanted_px: tuple[int, int],
    transform: ImageTransform,
    tag: ColourTag | None,
) -> _Stored:
    """Return the decoded picture.

    A JPEG can be decoded at 1/2, 1/4 or 1/8 in less time. That is done only if what comes
    out is still ``reducing_gap`` times the resized picture. An odd side is rounded up then, so
    the pixels stand for a little less than they are.
    """
    size_px, divisor = image.size, 1
    if image.format in ("JPEG", "MPO"):
        divisor, width, height = reduced_size(size_px, wanted_px, transform.reducing_gap)
        plain = decode_plain_jpeg(data, image.mode, (width, height))
        if plain is not None:
            source_px = (size_px[0] / divisor, size_px[1] / divisor)
            return _Stored(mode=image.mode, pixels_HWC=plain, source_px=source_px, tag=tag)
        load_reduced(image, divisor)
    else:
        image.load()
        spread_key(image, data)
    if is_deep_png(image, data, tag):
        resizable, tag = read_deep_png(data, tag), _done(tag)
    else:
        is_deep = image.mode.startswith("I")
        resizable, tag = to_resizable(image, tag), _done(tag) if is_deep else tag
    return _Stored(
        mode=resizable.mode,
        pixels_HWC=np.asarray(resizable).reshape(resizable.height, resizable.width, -1),
        source_px=(size_px[0] / divisor, size_px[1] / divisor),
        tag=tag,
    )


def _done(tag: ColourTag | None) -> ColourTag | None:
    """Return what is left to do of a tag that was applied."""
    return ColourTag() if tag is not None else None


def _crop_box(bucket: Bucket, geometry: Geometry, orientation: int) -> Box:
    """Return the crop in the resized picture that is not upright yet."""
    left, top = geometry.crop_left_px, geometry.crop_top_px
    assert left + bucket.width_px <= geometry.resized_width_px
    assert top + bucket.height_px <= geometry.resized_height_px
    upright = (left, top, left + bucket.width_px, top + bucket.height_px)
    size = (geometry.resized_width_px, geometry.resized_height_px)
    return stored_box(upright, size, orientation)
