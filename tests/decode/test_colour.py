"""Each colour mode becomes 8-bit sRGB by the rule that decode.colour states."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from latentcache.core.errors import MediaError
from latentcache.decode import ImageTransform


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def red_green_swapped_profile() -> bytes:
    """Return sRGB with the primaries of red and green exchanged in its tag table."""
    data = srgb_profile()
    swapped = data.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1)
    return swapped.replace(b"????", b"gXYZ", 1)


def icc_profile(device_class: bytes, space: bytes, connection: bytes, tags: dict) -> bytes:
    """Return an ICC profile, version 2, made of the given tags."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    text = b"text\0\0\0\0drawn\0\0\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", 6) + b"drawn\0" + bytes(78)
    tags = {b"wtpt": white, b"cprt": text, b"desc": description, **tags}
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">II", offset + len(body), len(value))
        body += padded
    size = offset + len(body)
    header = struct.pack(">I4sI", size, bytes(4), 0x02400000) + device_class + space + connection
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header + bytes(128 - len(header)) + table + body


def linear_grey_profile() -> bytes:
    """Return a profile of greys whose numbers are proportional to light."""
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    return icc_profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve})


def cyan_is_black_profile() -> bytes:
    """Return a profile of a press whose cyan ink is black and whose other inks are clear."""
    ramp = bytes(range(256))
    white, black = bytes([255, 128, 128]), bytes([0, 128, 128])
    grid = b"".join(black if corner >= 8 else white for corner in range(16))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + grid + ramp * 3
    return icc_profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table, b"A2B1": table})


def tiff(image: Image.Image, encode) -> bytes:
    return encode(image, "TIFF")


def corner(pixels) -> list[int]:
    return [int(value) for value in pixels[0, 0]]


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        pytest.param("1", 1, [255, 255, 255], id="1-bit"),
        pytest.param("L", 77, [77, 77, 77], id="grey"),
        pytest.param("RGB", (1, 2, 3), [1, 2, 3], id="rgb"),
        pytest.param("LA", (40, 255), [40, 40, 40], id="grey-opaque"),
        pytest.param("LA", (40, 0), [255, 255, 255], id="grey-transparent"),
        pytest.param("RGBA", (9, 8, 7, 255), [9, 8, 7], id="rgba-opaque"),
        pytest.param("RGBA", (0, 0, 0, 128), [127, 127, 127], id="rgba-half"),
        pytest.param("I;16", 65535, [255, 255, 255], id="16-bit-white"),
        pytest.param("I;16", 32896, [128, 128, 128], id="16-bit-is-scaled-not-clipped"),
        pytest.param("I;16B", 32896, [128, 128, 128], id="16-bit-big-endian"),
        pytest.param("I", 32896, [128, 128, 128], id="32-bit-integers-hold-16"),
        pytest.param("F", 0.5, [128, 128, 128], id="floats-from-0-to-1"),
    ],
)
def test_every_mode_has_one_meaning(encode, decode, mode, colour, expected) -> None:
    data = tiff(Image.new(mode, (8, 8), colour), encode)
    assert corner(decode(data)) == expected


@pytest.mark.parametrize(
    ("mode", "colour"), [("I", 70_000), ("I", -1), ("F", 1.5), ("F", -0.1), ("F", float("nan"))]
)
def test_numbers_without_a_known_white_are_refused(encode, decode, mode, colour) -> None:
    data = tiff(Image.new(mode, (8, 8), colour), encode)
    with pytest.raises(MediaError, match="black and white are not known") as caught:
        decode(data)
    assert caught.value.code == "unsupported"


def test_a_16_bit_gradient_keeps_its_steps(encode, decode) -> None:
    values = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    data = encode(Image.fromarray(values), "PNG")
    assert np.array_equal(decode(data)[..., 0].ravel(), np.arange(256))


def test_palettes_keep_colours_and_transparency(encode, decode) -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255, 0, 255, 0])
    assert corner(decode(encode(picture, "PNG"))) == [0, 0, 255]
    assert corner(decode(encode(picture, "PNG", transparency=1))) == [255, 255, 255]
    assert corner(decode(encode(picture, "PNG", transparency=b"\x00\x80\xff"))) == [127, 127, 255]


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (5, 6, 7)), ("L", 5), ("I;16", 5000)])
def test_a_colour_declared_transparent_shows_the_background(encode, decode, mode, colour) -> None:
    data = encode(Image.new(mode, (8, 8), colour), "PNG", transparency=colour)
    assert corner(decode(data, transform=ImageTransform(background=(1, 2, 3)))) == [1, 2, 3]


def test_transparent_colours_do_not_bleed_into_edges(encode, decode) -> None:
    picture = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 32, 64))
    pixels = decode(encode(picture, "PNG"), (16, 16)).astype(int)
    green_over_blue = pixels[..., 1] - pixels[..., 2]
    assert np.abs(green_over_blue).max() <= 2


def test_srgb_profiles_change_nothing(draw, encode, decode) -> None:
    picture = draw(64, 64)
    data = encode(picture, "PNG", icc_profile=srgb_profile())
    assert np.array_equal(decode(data), np.asarray(picture))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_profiles_are_applied_in_every_format(encode, decode, format) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    picture = Image.new("RGB", (32, 32), (200, 40, 90))
    data = encode(picture, format, icc_profile=red_green_swapped_profile(), **options)
    assert np.abs(decode(data)[16, 16].astype(int) - [40, 200, 90]).max() <= 6


def test_profiles_leave_transparency_alone(encode, decode) -> None:
    picture = Image.new("RGBA", (16, 16), (200, 40, 90, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 8, 16))
    pixels = decode(encode(picture, "PNG", icc_profile=red_green_swapped_profile())).astype(int)
    assert corner(pixels) == [255, 255, 255]
    assert np.abs(pixels[8, 12] - [40, 200, 90]).max() <= 3


@pytest.mark.parametrize(
    "profile",
    [b"no profile at all", srgb_profile()[:200], b"\0" * 4096],
    ids=["noise", "cut", "zeros"],
)
def test_a_broken_profile_is_ignored(draw, encode, decode, profile) -> None:
    picture = draw(32, 32)
    data = encode(picture, "PNG", icc_profile=profile)
    assert np.array_equal(decode(data), np.asarray(picture))


@pytest.mark.parametrize(("mode", "colour"), [("L", 90), ("CMYK", (10, 20, 30, 40))])
def test_a_profile_for_other_channels_is_ignored(encode, decode, mode, colour) -> None:
    picture = Image.new(mode, (16, 16), colour)
    data = encode(picture, "TIFF", icc_profile=red_green_swapped_profile())
    assert np.array_equal(decode(data), np.asarray(picture.convert("RGB")))


def test_cmyk_jpegs_are_not_inverted(encode, decode) -> None:
    # Pillow writes what Adobe writes: inverted inks with a marker that says so.
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = decode(encode(ink, "JPEG", quality=95)).astype(int)
    assert np.abs(pixels[8, 8] - [255, 0, 0]).max() <= 4


def test_lab_becomes_the_colours_it_names(draw, encode, decode) -> None:
    picture = draw(32, 32)
    lab = ImageCms.applyTransform(
        picture,
        ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        ),
    )
    buffer = io.BytesIO()
    lab.save(buffer, "TIFF")
    pixels = decode(buffer.getvalue()).astype(int)
    assert np.abs(pixels - np.asarray(picture).astype(int)).mean() < 3


def test_grey_profiles_are_applied(encode, decode) -> None:
    data = encode(Image.new("L", (16, 16), 128), "PNG", icc_profile=linear_grey_profile())
    # Half the light is 188 in sRGB.
    assert np.abs(decode(data)[8, 8].astype(int) - 188).max() <= 1


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_profiles_are_applied(encode, decode, format) -> None:
    profile = cyan_is_black_profile()
    cyan = encode(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), format, icc_profile=profile)
    magenta = encode(Image.new("CMYK", (16, 16), (0, 255, 0, 0)), format, icc_profile=profile)
    assert decode(cyan)[8, 8].max() <= 4
    assert decode(magenta)[8, 8].min() >= 251
