"""Pictures of more, or fewer, than 8 bits come out by their own black, white and transparency."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from latentcache.core.errors import MediaError
from latentcache.decode import ImageTransform
from tests.decode.files import chunk, grey_tiff, png, tiff, with_chunk

BACKGROUND = ImageTransform(background=(1, 2, 3))
LINEAR = chunk(b"gAMA", struct.pack(">I", 100_000))


def srgb(light: np.ndarray) -> np.ndarray:
    """Return levels of light; source: IEC 61966-2-1."""
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * curved).astype(int)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("is_white_zero", [False, True])
def test_a_deep_grey_tiff_runs_from_its_own_black_to_its_own_white(
    decode, bits, is_white_zero
) -> None:
    if (bits, is_white_zero) == (12, True):
        pytest.skip("Pillow has no decoder for it, and says so")
    largest = (1 << bits) - 1
    levels = np.arange(256).reshape(16, 16)
    samples = np.round(levels / 255 * largest).astype(int)
    stored = largest - samples if is_white_zero else samples
    pixels = decode(grey_tiff(stored, bits=bits, is_white_zero=is_white_zero))
    assert np.array_equal(pixels[..., 0], levels)


def test_a_12_bit_tiff_whose_white_is_zero_is_refused(decode) -> None:
    data = grey_tiff(np.zeros((4, 4), int), bits=12, is_white_zero=True)
    with pytest.raises(MediaError, match="of a kind not read"):
        decode(data)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_is_found_at_any_depth(decode, bits) -> None:
    largest = (1 << bits) - 1
    key = largest // 3 if bits > 1 else 0
    samples = np.full((8, 8), largest)
    samples[:, :4] = key
    data = png(samples, bits=bits, kind=0, before_pixels=chunk(b"tRNS", struct.pack(">H", key)))
    pixels = decode(data, transform=BACKGROUND)
    assert pixels[0, 0].tolist() == [1, 2, 3]
    assert pixels[0, 7].tolist() == [255, 255, 255]


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_a_png_is_found_at_any_depth(decode, bits) -> None:
    key = [10, 20, 30] if bits == 8 else [0x1234, 0x5678, 0x9ABC]
    near = [10, 20, 31] if bits == 8 else [0x1234, 0x5678, 0x9ABD]  # the same high bytes
    samples = np.array([[key, near]] * 2)
    data = png(samples, bits=bits, kind=2, before_pixels=chunk(b"tRNS", struct.pack(">3H", *key)))
    pixels = decode(data, transform=BACKGROUND)
    assert pixels[0, 0].tolist() == [1, 2, 3]
    expected = near if bits == 8 else [round(value / 257) for value in near]
    assert np.abs(pixels[0, 1].astype(int) - expected).max() <= 1


def test_deep_linear_light_is_converted_before_it_is_rounded(decode) -> None:
    values = np.round(np.geomspace(30, 65535, 256)).astype(int).reshape(16, 16)
    grey = png(values, bits=16, kind=0, before_pixels=LINEAR)
    colours = png(np.stack([values, values.T, values], -1), bits=16, kind=2, before_pixels=LINEAR)
    expected = srgb(values / 65535)
    assert np.abs(decode(grey)[..., 0].astype(int) - expected).max() <= 1
    found = decode(colours).astype(int)
    assert np.abs(found - np.stack([expected, expected.T, expected], -1)).max() <= 1


def test_deep_linear_light_with_alpha_shows_the_background(decode) -> None:
    samples = np.zeros((4, 4, 4), int)
    samples[:, 2:] = (65535, 14000, 0, 65535)
    data = png(samples, bits=16, kind=6, before_pixels=LINEAR)
    pixels = decode(data, transform=BACKGROUND)
    assert pixels[0, 0].tolist() == [1, 2, 3]
    expected = srgb(np.array([1.0, 14000 / 65535, 0.0]))
    assert np.abs(pixels[0, 3].astype(int) - expected).max() <= 1


def test_grey_with_associated_alpha_opens(decode) -> None:
    values = np.zeros((8, 8, 2), np.uint8)
    values[:, 4:] = (200, 255)
    tags = {258: (8, 8), 262: 1, 277: 2, 338: (1,)}
    data = tiff(8, 8, tags, values.tobytes())
    assert Image.open(io.BytesIO(data)).mode == "La"
    pixels = decode(data, transform=BACKGROUND)
    assert pixels[0, 0].tolist() == [1, 2, 3]
    assert pixels[0, 7].tolist() == [200, 200, 200]
    assert decode(data, (5, 5)).shape == (5, 5, 3)


def test_the_maximum_of_a_portable_greymap_is_its_white(decode) -> None:
    values = b"".join(struct.pack(">H", value) for value in (0, 1024, 2048, 4095))
    pixels = decode(b"P5 4 1 4095\n" + values)
    assert pixels[0, :, 0].tolist() == [0, 64, 128, 255]


def test_sixteen_bit_colours_of_a_tiff_lose_less_than_a_level(decode) -> None:
    values = np.linspace(0, 65535, 64).astype("<u2").reshape(8, 8)
    colours = np.stack([values, values.T, values[::-1]], axis=-1)
    data = tiff(8, 8, {258: (16, 16, 16), 262: 2, 277: 3}, colours.tobytes())
    found = decode(data).astype(float)
    assert np.abs(found - colours / 257).max() <= 1


def test_a_key_beyond_the_depth_is_read_by_its_low_bits(decode) -> None:
    data = with_chunk(png(np.full((4, 4), 3), bits=4, kind=0), b"tRNS", struct.pack(">H", 0x0103))
    assert decode(data, transform=BACKGROUND)[0, 0].tolist() == [1, 2, 3]
