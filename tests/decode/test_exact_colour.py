"""Frames come out as the colours that their matrix and range define, to a rounding."""

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from latentcache.core.errors import MediaError
from latentcache.decode import VideoTransform
from latentcache.decode.clips.video_pixels import FrameConverter
from latentcache.decode.pixels.gamut import BT2020, ColourTag
from latentcache.decode.pixels.tone import to_srgb_by_tag
from tests.decode.colour_frames import (
    YCGCO,
    frame_of,
    middles,
    numbers_of,
    random_colours,
    shown,
)

FORMATS = [("yuv420p", 8), ("yuv422p", 8), ("yuv444p", 8), ("yuv420p10le", 10),
           ("yuv422p10le", 10), ("yuv444p12le", 12)]  # fmt: skip


def converted(frame: av.VideoFrame, size_px: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    size = size_px or (frame.width, frame.height)
    return FrameConverter(VideoTransform()).convert(frame, size)


@pytest.mark.parametrize("share", [1, 2])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(("pixel_format", "bits"), FORMATS)
@pytest.mark.parametrize("matrix", [1, 6, 7, 9, YCGCO])
def test_random_colours_are_exact(matrix, pixel_format, bits, is_full, share) -> None:
    colours = random_colours()
    facts = {"matrix": matrix, "is_full": is_full, "bits": bits}
    numbers = numbers_of(colours, **facts)
    frame = frame_of(numbers, pixel_format, bits=bits)
    frame.colorspace, frame.color_range = matrix, 2 if is_full else 1
    pixels = converted(frame, (frame.width // share, frame.height // share))
    error = middles(pixels, *colours.shape[:2]) - shown(numbers, **facts)
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.03
    assert np.abs(error).max() < 0.6


@pytest.mark.parametrize(
    ("columns", "matrix"),
    [(80, 1), (40, 6)],  # of 1280 and of 640 px
)
def test_untagged_colours_are_exact_by_the_guess(columns, matrix) -> None:
    colours = random_colours(4, columns)
    facts = {"matrix": matrix, "is_full": False, "bits": 8}
    numbers = numbers_of(colours, **facts)
    pixels = converted(frame_of(numbers, "yuv420p", bits=8))
    error = middles(pixels, 4, columns) - shown(numbers, **facts)
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.1
    assert np.abs(error).max() < 0.6


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(
    ("pixel_format", "bits"), [("gray", 8), ("gray10le", 10), ("gray12le", 12)]
)
def test_greys_have_the_range_they_say(pixel_format, bits, is_full) -> None:
    levels = np.linspace(0, 1, 32 * 24).reshape(24, 32)
    largest, step = 2**bits - 1, 2 ** (bits - 8)
    numbers = np.round(levels * largest if is_full else step * (16 + 219 * levels)).astype(int)
    frame = frame_of([numbers], pixel_format, bits=bits)
    frame.color_range = 2 if is_full else 1
    for share in (1, 2):
        pixels = converted(frame, (frame.width // share, frame.height // share))
        expected = numbers / largest if is_full else (numbers / step - 16) / 219
        error = middles(pixels, 24, 32) - 255 * expected[..., None]
        assert np.abs(error).max() < 0.6


@pytest.mark.parametrize(("pixel_format", "bits"), [("gbrp10le", 10), ("gbrp12le", 12)])
def test_deep_rgb_reaches_white(pixel_format, bits) -> None:
    colours = random_colours()
    numbers = np.round(colours * (2**bits - 1)).astype(int)
    frame = frame_of([numbers[..., at] for at in (1, 2, 0)], pixel_format, bits=bits)
    error = middles(converted(frame), *colours.shape[:2]) - 255 * colours
    assert np.abs(error).max() < 0.6
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.05


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_mapped_from_exact_numbers(transfer) -> None:
    colours = random_colours()
    facts = {"matrix": 9, "is_full": False, "bits": 10}
    numbers = numbers_of(colours, **facts)
    frame = frame_of(numbers, "yuv420p10le", bits=10)
    frame.colorspace, frame.color_range, frame.color_trc = 9, 1, transfer
    deep = np.round(shown(numbers, **facts) * 257).astype(np.uint16)
    tag = ColourTag(curve="pq" if transfer == 16 else "hlg", primaries=BT2020)
    error = middles(converted(frame), *colours.shape[:2]) - to_srgb_by_tag(deep, tag)
    assert np.abs(error).max() <= 1


def test_wide_gamut_clips_are_converted_as_pictures_are() -> None:
    colours = random_colours()
    facts = {"matrix": 9, "is_full": False, "bits": 8}
    numbers = numbers_of(colours, **facts)
    frame = frame_of(numbers, "yuv420p", bits=8)
    frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 9, 1, 9, 14
    deep = np.round(shown(numbers, **facts) * 257).astype(np.uint16)
    error = middles(converted(frame), *colours.shape[:2]) - to_srgb_by_tag(
        deep, ColourTag(primaries=BT2020)
    )
    assert np.abs(error).max() <= 1


@pytest.mark.parametrize("matrix", [10, 13, 14])
def test_matrices_that_are_not_converted_are_refused_by_name(matrix) -> None:
    frame = av.VideoFrame(64, 32, "yuv420p")
    frame.colorspace = matrix
    with pytest.raises(MediaError, match=f"code point {matrix}") as caught:
        converted(frame)
    assert caught.value.code == "unsupported"


def test_alpha_of_any_depth_lets_the_background_through() -> None:
    colours = np.full((4, 4, 3), 0.2)
    for pixel_format, bits in (("yuva420p", 8), ("yuva444p10le", 10), ("yuva444p12le", 12)):
        numbers = numbers_of(colours, matrix=1, is_full=False, bits=bits)
        alpha = np.zeros((4, 4), int)
        alpha[:, 2:] = 2**bits - 1
        frame = frame_of([*numbers, alpha], pixel_format, bits=bits)
        frame.colorspace, frame.color_range = 1, 1
        for size_px in ((64, 64), (32, 32)):
            found = middles(converted(frame, size_px), 4, 4)
            assert np.abs(found[:, 0] - 255).max() <= 1
            assert np.abs(found[:, 3] - 51).max() <= 1
