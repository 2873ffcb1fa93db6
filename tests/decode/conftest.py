"""Drawn pictures and the plain way to decode them, for all tests of this package."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from latentcache.core.media import Bucket, Geometry
from latentcache.decode import ImageLimits, ImageTransform, decode_image, probe_image

Decode = Callable[..., NDArray[np.uint8]]


def draw_picture(width_px: int = 96, height_px: int = 64) -> Image.Image:
    """Return a smooth, asymmetric RGB picture: no two orientations of it look alike."""
    y, x = np.mgrid[0:height_px, 0:width_px]
    red = 255 * x / width_px
    green = 255 * y / height_px
    blue = 127 + 100 * np.sin(x / 7.0) * np.cos(y / 5.0)
    pixels = np.stack([red, green, blue], axis=-1)
    pixels[: height_px // 4, : width_px // 4] = (250, 10, 10)
    return Image.fromarray(pixels.round().astype(np.uint8))


def encode_picture(image: Image.Image, format: str, **options: object) -> bytes:
    """Return the picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def whole(width_px: int, height_px: int, *, resized: tuple[int, int] | None = None) -> Geometry:
    """Return a geometry that keeps the whole picture."""
    resized_px = resized or (width_px, height_px)
    return Geometry(
        source_width_px=width_px,
        source_height_px=height_px,
        resized_width_px=resized_px[0],
        resized_height_px=resized_px[1],
        crop_left_px=0,
        crop_top_px=0,
    )


def decode_whole(
    data: bytes,
    resized: tuple[int, int] | None = None,
    *,
    transform: ImageTransform | None = None,
) -> NDArray[np.uint8]:
    """Return the whole picture at ``resized`` (or its own) size."""
    limits = ImageLimits()
    info = probe_image(io.BytesIO(data), size_bytes=len(data), limits=limits)
    width_px, height_px = resized or (info.width_px, info.height_px)
    return decode_image(
        data,
        Bucket(1, height_px, width_px),
        whole(info.width_px, info.height_px, resized=resized),
        transform=transform or ImageTransform(),
        limits=limits,
    )


@pytest.fixture
def draw() -> Callable[..., Image.Image]:
    return draw_picture


@pytest.fixture
def encode() -> Callable[..., bytes]:
    return encode_picture


@pytest.fixture
def geometry_of() -> Callable[..., Geometry]:
    return whole


@pytest.fixture
def decode() -> Decode:
    return decode_whole
