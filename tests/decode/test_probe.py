"""Headers alone tell the scan what decoding will find."""

import io

import pytest
from PIL import Image, ImageFile

from latentcache.core.errors import MediaError
from latentcache.decode import ImageLimits, probe_image

LIMITS = ImageLimits()


class CountingFile(io.BytesIO):
    """A file that knows how many of its bytes were read."""

    num_read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.num_read_bytes += len(data)
        return data


def probe(data: bytes, limits: ImageLimits = LIMITS):
    return probe_image(io.BytesIO(data), size_bytes=len(data), limits=limits)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM"])
def test_size_and_format_are_read_without_decoding(draw, encode, monkeypatch, format) -> None:
    data = encode(draw(96, 64), format)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _self: pytest.fail("pixels decoded"))
    info = probe(data)
    assert (info.width_px, info.height_px, info.format) == (96, 64, format)
    assert not info.is_animated


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_width_and_height_are_those_of_the_upright_picture(draw, encode, format) -> None:
    exif = Image.Exif()
    exif[274] = 6
    info = probe(encode(draw(96, 64), format, exif=exif))
    assert (info.width_px, info.height_px) == (64, 96)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP"])
def test_only_the_head_of_a_large_file_is_read(encode, format) -> None:
    noise = Image.effect_noise((1500, 1500), 90).convert("RGB")
    data = encode(noise, format)
    file = CountingFile(data)
    probe_image(file, size_bytes=len(data), limits=LIMITS)
    assert len(data) > 1_000_000
    assert file.num_read_bytes < 100_000


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_more_than_one_frame_is_said(encode, format) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    assert probe(encode(frames[0], format, save_all=True, append_images=frames[1:])).is_animated


def test_the_second_picture_of_a_phone_photo_is_no_animation(encode) -> None:
    views = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    info = probe(encode(views[0], "MPO", save_all=True, append_images=views[1:]))
    assert info.format == "MPO"
    assert not info.is_animated


def test_the_limit_is_exact(draw, encode) -> None:
    data = encode(draw(100, 50), "PNG")
    assert probe(data, ImageLimits(max_pixels=5000)).width_px == 100
    with pytest.raises(MediaError, match="100x50 px, more than the limit of 4999") as caught:
        probe(data, ImageLimits(max_pixels=4999))
    assert caught.value.code == "bomb"
