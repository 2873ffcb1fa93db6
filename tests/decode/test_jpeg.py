"""A JPEG has the pixels that Pillow gives it, whoever decodes it, at full size and reduced."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from latentcache.decode.picture.jpeg import decode_plain_jpeg, load_reduced, reduced_size

KINDS = [
    pytest.param("RGB", {"subsampling": 0}, id="4:4:4"),
    pytest.param("RGB", {"subsampling": 1}, id="4:2:2"),
    pytest.param("RGB", {"subsampling": 2}, id="4:2:0"),
    pytest.param("RGB", {"progressive": True}, id="progressive"),
    pytest.param("RGB", {"keep_rgb": True}, id="not-converted"),
    pytest.param("RGB", {"restart_marker_blocks": 2}, id="restarts"),
    pytest.param("L", {}, id="grey"),
]


def opened(data: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("size_px", [(203, 101), (64, 48), (9, 200)])
@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
@pytest.mark.parametrize(("mode", "options"), KINDS)
def test_both_decoders_give_the_same_bits(draw, encode, mode, options, divisor, size_px) -> None:
    data = encode(draw(*size_px).convert(mode), "JPEG", quality=90, **options)
    reduced_px = (-(-size_px[0] // divisor), -(-size_px[1] // divisor))
    image = opened(data)
    load_reduced(image, divisor)
    assert image.size == reduced_px
    found = decode_plain_jpeg(data, mode, reduced_px)
    assert found is not None
    assert np.array_equal(found.squeeze(), np.asarray(image))


@pytest.mark.parametrize(
    ("size_px", "wanted_px", "expected"),
    [
        ((4000, 3000), (341, 256), (4, 1000, 750)),
        ((1023, 1023), (256, 256), (1, 1023, 1023)),
        ((1024, 1024), (256, 256), (2, 512, 512)),
        ((2049, 2049), (256, 256), (4, 513, 513)),
        ((4096, 300), (16, 256), (1, 4096, 300)),
        ((20000, 20000), (16, 16), (8, 2500, 2500)),
    ],
)
def test_a_jpeg_is_reduced_only_while_twice_the_size_is_left(size_px, wanted_px, expected) -> None:
    assert reduced_size(size_px, wanted_px, 2.0) == expected


def test_other_colours_and_odd_files_are_left_to_pillow(draw, encode) -> None:
    cmyk = encode(draw(32, 32).convert("CMYK"), "JPEG")
    assert decode_plain_jpeg(cmyk, "CMYK", (32, 32)) is None
    whole = encode(draw(64, 64), "JPEG")
    assert decode_plain_jpeg(whole[:-40], "RGB", (64, 64)) is None
    assert decode_plain_jpeg(whole, "RGB", (63, 64)) is None


def test_bytes_behind_a_picture_cost_nothing(draw, encode, decode) -> None:
    data = encode(draw(64, 48), "JPEG", quality=95)
    assert np.array_equal(decode(data + b"\0" * 1000), decode(data))
