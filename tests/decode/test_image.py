"""Any picture comes out as its bucket's pixels, upright, as the plain way would make them."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.decode import ImageLimits, ImageTransform, decode_cuts, decode_image
from latentcache.decode.pixels.resize import resized as lanczos

LIMITS = ImageLimits()
TRANSFORM = ImageTransform()
LANCZOS = Image.Resampling.LANCZOS
FIXTURES_KEPT = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def difference(left, right) -> int:
    return int(np.abs(np.asarray(left).astype(int) - np.asarray(right).astype(int)).max())


def psnr_db(left, right) -> float:
    error = (np.asarray(left).astype(float) - np.asarray(right).astype(float)) ** 2
    return float(10 * np.log10(255**2 / max(error.mean(), 1e-9)))


def with_orientation(image: Image.Image, orientation: int, encode, format: str, **options) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encode(image, format, exif=exif, **options)


def test_pixels_are_plain_writable_memory_of_the_buckets_size(draw, encode, geometry_of) -> None:
    data = encode(draw(96, 64), "PNG")
    geometry = geometry_of(96, 64, resized=(48, 32))
    pixels = decode_image(data, Bucket(1, 32, 40), geometry, transform=TRANSFORM, limits=LIMITS)
    assert pixels.shape == (32, 40, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


def test_a_picture_of_the_right_size_is_not_touched(draw, encode, decode) -> None:
    picture = draw(96, 64)
    assert np.array_equal(decode(encode(picture, "PNG")), np.asarray(picture))


def test_the_same_file_gives_the_same_bytes(draw, encode, decode) -> None:
    data = encode(draw(200, 150), "JPEG", quality=80)
    assert decode(data, (50, 40)).tobytes() == decode(data, (50, 40)).tobytes()


@FIXTURES_KEPT
@given(
    size=st.tuples(st.integers(30, 120), st.integers(30, 120)),
    resized=st.tuples(st.integers(16, 60), st.integers(16, 60)),
    orientation=st.integers(1, 8),
    where=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_resampling_the_crop_alone_equals_turn_resize_crop(
    draw, encode, size, resized, orientation, where
) -> None:
    # Half the contrast: turning afterwards swaps the two passes of the resize, and what
    # overshoots is clipped in between, which shows at hard edges between extremes.
    stored = draw(*size).point([64 + value // 2 for value in range(256)] * 3)
    data = with_orientation(stored, orientation, encode, "PNG")
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    bucket = Bucket(1, 16, 16)
    left, top = (round(at * (side - 16)) for at, side in zip(where, resized, strict=True))
    geometry = Geometry(
        source_width_px=upright.width,
        source_height_px=upright.height,
        resized_width_px=resized[0],
        resized_height_px=resized[1],
        crop_left_px=left,
        crop_top_px=top,
    )
    never_reduced = ImageTransform(reducing_gap=1000.0)
    pixels = decode_image(data, bucket, geometry, transform=never_reduced, limits=LIMITS)
    plain = lanczos(np.asarray(upright), resized)[top : top + 16, left : left + 16]
    assert difference(pixels, plain) <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF", "AVIF"])
def test_each_orientation_is_applied_once(draw, encode, decode, format, orientation) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    if format in ("JPEG", "AVIF"):
        options = {"quality": 95}
    picture = draw(96, 64)
    data = with_orientation(picture, orientation, encode, format, **options)
    exif = Image.Exif()
    exif[274] = orientation
    tagged = picture.copy()
    tagged.info["exif"] = exif.tobytes()
    upright = ImageOps.exif_transpose(tagged)
    pixels = decode(data)
    assert pixels.shape[:2] == (upright.height, upright.width)
    assert psnr_db(pixels, upright) > 28


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_large_jpegs_are_shrunk_while_decoding_and_look_the_same(
    draw, encode, decode, orientation
) -> None:
    data = with_orientation(draw(2001, 1403), orientation, encode, "JPEG", quality=95)
    size = (280, 200) if orientation == 1 else (200, 280)
    exact = decode(data, size, transform=ImageTransform(reducing_gap=1000.0))
    assert psnr_db(decode(data, size), exact) > 45


def test_a_jpeg_less_than_twice_too_large_is_decoded_in_full(draw, encode, decode) -> None:
    picture = draw(300, 200)
    data = encode(picture, "JPEG", quality=95)
    plain = Image.open(io.BytesIO(data)).resize((160, 107), LANCZOS)
    assert difference(decode(data, (160, 107)), plain) <= 2


@pytest.mark.parametrize(
    ("format", "options"),
    [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {}), ("AVIF", {})],
)
def test_the_first_frame_of_many_is_taken(encode, decode, format, options) -> None:
    colours = ["red", "blue", "lime"]
    frames = [Image.new("RGB", (16, 16), colour) for colour in colours]
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert difference(decode(data), frames[0]) <= 4


def test_another_size_than_planned_is_refused(draw, encode, geometry_of) -> None:
    data = encode(draw(96, 64), "PNG")
    with pytest.raises(MediaError, match="is 96x64 px, but the plan says 64x96 px") as caught:
        decode_image(
            data, Bucket(1, 16, 16), geometry_of(64, 96), transform=TRANSFORM, limits=LIMITS
        )
    assert caught.value.code == "size_mismatch"


def test_small_pictures_can_be_enlarged(draw, encode, decode) -> None:
    assert decode(encode(draw(8, 8), "PNG"), (64, 64)).shape == (64, 64, 3)
    assert decode(encode(draw(1, 1), "PNG"), (16, 16)).shape == (16, 16, 3)


@pytest.mark.parametrize("reading", ["colour", "alpha", "nearest"])
def test_a_mirrored_picture_is_the_mirror_of_what_is_cut_out(draw, encode, reading) -> None:
    geometry = Geometry(
        source_width_px=96,
        source_height_px=64,
        resized_width_px=60,
        resized_height_px=40,
        crop_left_px=3,
        crop_top_px=5,
    )
    plain, mirrored = (
        decode_image(
            encode(draw(), "PNG"),
            Bucket(1, 32, 48),
            replace(geometry, is_flipped=is_flipped),
            transform=ImageTransform(),
            limits=ImageLimits(),
            reading=reading,
        )
        for is_flipped in (False, True)
    )
    assert np.array_equal(mirrored, plain[:, ::-1])
    assert mirrored.flags.c_contiguous


@pytest.mark.parametrize("reading", ["colour", "alpha", "nearest"])
@pytest.mark.parametrize("orientation", [1, 2, 6, 7])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_cuts_of_one_picture_are_what_each_is_alone(
    draw, encode, reading, orientation, format
) -> None:
    data = with_orientation(draw(331, 170), orientation, encode, format)
    width_px, height_px = (331, 170) if orientation < 5 else (170, 331)
    resized_px = {331: 121, 170: 62}
    bucket = Bucket(1, 48, 48)
    rules = {"transform": ImageTransform(), "limits": ImageLimits(), "reading": reading}
    geometries = [
        Geometry(
            source_width_px=width_px,
            source_height_px=height_px,
            resized_width_px=resized_px[width_px],
            resized_height_px=resized_px[height_px],
            crop_left_px=(resized_px[width_px] - 48) * place // 2,
            crop_top_px=(resized_px[height_px] - 48) * place // 2,
            is_flipped=is_flipped,
        )
        for place in (1, 0, 2)
        for is_flipped in (False, True)
    ]
    together = list(decode_cuts(data, bucket, geometries, **rules))
    alone = [decode_image(data, bucket, each, **rules) for each in geometries]
    assert all(np.array_equal(*pair) for pair in zip(together, alone, strict=True))
    if reading == "colour":
        assert len({each.tobytes() for each in together}) == len(geometries)
