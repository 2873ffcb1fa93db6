"""Bad files are refused with a word and a sentence; nothing is half-decoded or printed."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket
from latentcache.decode import ImageLimits, ImageTransform, classify, decode_image, probe_image
from latentcache.decode.picture.open_picture import FORMATS, open_image

LIMITS = ImageLimits()
FTYP = b"\0\0\0\x18ftyp"


def probe(data: bytes):
    return probe_image(io.BytesIO(data), size_bytes=len(data), limits=LIMITS)


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        pytest.param(b"", "empty", "0 bytes", id="empty"),
        pytest.param(b"\0" * 9000, "not_media", "zero bytes only", id="nul"),
        pytest.param(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "not_media",
            "git lfs pull",
            id="lfs",
        ),
        pytest.param(b"<!DOCTYPE html><html>404</html>", "not_media", "web page", id="html"),
        pytest.param(b"  <HTML><body>gone", "not_media", "web page", id="html-upper"),
        pytest.param(b'{"error": "access denied"}', "not_media", "is text", id="text"),
        pytest.param(b"PK\x03\x04" + b"\x9c" * 99, "not_media", "archive", id="zip"),
        pytest.param(bytes(range(1, 256)) * 9, "not_media", "no image decoder", id="noise"),
        pytest.param(FTYP + b"isom\0\0\0\0isommp42", "not_an_image", "video (mp4)", id="mp4"),
        pytest.param(FTYP + b"qt  \0\0\0\0qt  \0\0\0\0", "not_an_image", "video (mov)", id="mov"),
        pytest.param(b"\0\0\0\x08wide\0\0\0\0mdat", "not_an_image", "video (mp4)", id="bare-mov"),
        pytest.param(
            b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska", "not_an_image", "video (mkv)", id="mkv"
        ),
        pytest.param(
            b"\x1a\x45\xdf\xa3\x93\x42\x82\x84webm", "not_an_image", "video (webm)", id="webm"
        ),
        pytest.param(b"RIFF\x99\0\0\0AVI LIST", "not_an_image", "video (avi)", id="avi"),
        pytest.param((b"\x47" + b"\xff" * 187) * 4, "not_an_image", "video (ts)", id="ts"),
        pytest.param(FTYP + b"heic\0\0\0\0mif1heic", "unsupported", "HEIF", id="heic"),
        pytest.param(FTYP + b"mif1\0\0\0\0mif1heic", "unsupported", "HEIF", id="heic-mif1"),
        pytest.param(b"\xff\x0a" + b"\x91" * 64, "unsupported", "JPEG XL", id="jxl"),
        pytest.param(b"<svg xmlns='x'></svg>    ", "unsupported", "SVG", id="svg"),
        pytest.param(b"%PDF-1.7\n%\xe2\xe3", "unsupported", "PDF", id="pdf"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported", "PostScript", id="eps"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\x07" * 64, "corrupt", "begins as PNG", id="png"),
    ],
)
def test_what_is_no_picture_is_called_by_its_name(data, code, words) -> None:
    with pytest.raises(MediaError) as caught:
        probe(data)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert not caught.value.is_transient


_CUT_FORMATS = {
    "JPEG": {"quality": 90},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 90},
    "TIFF": {},
    "GIF": {},
    "BMP": {},
    "PPM": {},
    "JPEG2000": {},
}


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_cut_anywhere_in_its_pixels_is_refused(draw, encode, decode, options) -> None:
    data = encode(draw(200, 150), "JPEG", quality=90, **options)
    for share in np.linspace(0.02, 0.99, 40):
        with pytest.raises(MediaError):
            decode(data[: int(len(data) * share)])


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(format=st.sampled_from(sorted(_CUT_FORMATS)), share=st.floats(0, 1))
def test_a_cut_file_is_refused_or_gives_all_its_pixels(draw, encode, decode, format, share) -> None:
    data = encode(draw(90, 70), format, **_CUT_FORMATS[format])
    code = "none"
    try:
        pixels = decode(data[: int(len(data) * share)])
    except MediaError as error:
        code = error.code
    else:
        assert np.array_equal(pixels, decode(data))
    assert code in ("none", "empty", "not_media", "truncated", "corrupt")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    format=st.sampled_from(sorted(_CUT_FORMATS)),
    damage=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_flipped_bytes_cost_a_media_error_at_most(draw, encode, decode, format, damage) -> None:
    data = bytearray(encode(draw(60, 40), format, **_CUT_FORMATS[format]))
    for where, value in damage:
        data[int(where * len(data))] = value
    reason = "decodes"
    try:
        assert decode(bytes(data), (16, 16)).shape == (16, 16, 3)
    except MediaError as error:
        reason = classify(error, stage="decode").reason
    assert reason
    assert "0x" not in reason


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP"])
def test_half_a_file_is_truncated(draw, encode, decode, format) -> None:
    data = encode(draw(200, 150), format)
    with pytest.raises(MediaError, match="ends before the picture does") as caught:
        decode(data[: len(data) // 2])
    assert caught.value.code == "truncated"


def test_a_broken_exif_block_does_not_cost_the_picture(draw, encode, decode) -> None:
    picture = draw(32, 32)
    for block in (b"Exif\0\0LoremIpsumDolor", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0"):
        assert np.array_equal(decode(encode(picture, "PNG", exif=block)), np.asarray(picture))


def test_a_bomb_is_refused_before_its_pixels(encode) -> None:
    data = encode(Image.new("1", (20_000, 10_000)), "PNG")
    with pytest.raises(MediaError, match=r"limit") as caught:
        probe(data)
    assert caught.value.code == "bomb"


def test_large_pictures_below_the_limit_warn_nobody(encode) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert probe(encode(Image.new("1", (12_000, 10_000)), "PNG")).width_px == 12_000
    assert not caught


def test_libtiff_is_kept_quiet(draw, encode, decode, capfd) -> None:
    data = encode(draw(90, 70), "TIFF", compression="tiff_lzw")
    with pytest.raises(MediaError):
        decode(data[:8] + b"\xff" * 400 + data[408:])
    assert capfd.readouterr().err == ""


def test_pillows_switches_are_put_back(draw, encode, monkeypatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    before = Image.MAX_IMAGE_PIXELS
    data = encode(draw(32, 32), "JPEG")
    with pytest.raises(MediaError):
        decode_cut(data)
    assert ImageFile.LOAD_TRUNCATED_IMAGES
    assert before == Image.MAX_IMAGE_PIXELS


def decode_cut(data: bytes) -> None:
    with open_image(io.BytesIO(data[:-60]), size_bytes=len(data) - 60, limits=LIMITS) as image:
        image.load()


def test_every_format_we_try_is_there(draw, encode) -> None:
    probe(encode(draw(), "PNG"))
    assert set(FORMATS) <= set(Image.OPEN)


def test_our_own_mistakes_are_not_blamed_on_the_file(draw, encode) -> None:
    data = encode(draw(32, 32), "PNG")
    with (
        pytest.raises(KeyError),
        open_image(io.BytesIO(data), size_bytes=len(data), limits=LIMITS),
    ):
        raise KeyError("a bug")


class UnreadableFile(io.BytesIO):
    def read(self, _size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error", "/home/someone/secret.jpg")


def test_read_errors_may_be_tried_again_and_name_no_path() -> None:
    with pytest.raises(MediaError) as caught:
        probe_image(UnreadableFile(), size_bytes=10, limits=LIMITS)
    reject = classify(caught.value, stage="scan")
    assert (reject.code, reject.is_transient) == ("unreadable", True)
    assert reject.reason == "the file cannot be read (Input/output error)"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file", "/x"), "not there any more"),
        (PermissionError(13, "Permission denied", "/x"), "no permission"),
    ],
)
def test_missing_and_forbidden_files_say_so(error, words) -> None:
    reject = classify(error, stage="scan")
    assert reject.code == "unreadable"
    assert words in reject.reason
    assert "/x" not in reject.reason


def test_storage_that_gives_up_and_unforeseen_errors_may_be_tried_again() -> None:
    for error in (TimeoutError(), ConnectionResetError(), OSError("endpoint gone"), KeyError("x")):
        reject = classify(error, stage="scan")
        assert (reject.code, reject.is_transient) == ("unreadable", True)
        assert reject.reason


def reject_of(data: bytes, geometry):
    try:
        decode_image(data, Bucket(1, 32, 32), geometry, transform=ImageTransform(), limits=LIMITS)
    except MediaError as error:
        return classify(error, stage="decode")
    return None


def test_the_digest_depends_on_the_failure_not_on_the_caller(draw, encode, geometry_of) -> None:
    data = encode(draw(32, 32), "JPEG")[:-100]
    direct = reject_of(data, geometry_of(32, 32))
    nested = [reject_of(data, geometry_of(32, 32)) for _ in range(2)][1]
    other = reject_of(data, geometry_of(64, 64))
    assert direct is not None
    assert direct == nested
    assert len(direct.trace_digest) == 16
    assert other is not None
    assert other.trace_digest != direct.trace_digest


@pytest.mark.parametrize("kind", ["boxes", "last-box-without-length", "bare-code-stream"])
def test_a_jpeg2000_cut_anywhere_is_refused(draw, encode, decode, kind) -> None:
    data = encode(draw(90, 70), "JPEG2000", no_jp2=kind == "bare-code-stream")
    if kind == "last-box-without-length":
        start = data.index(b"jp2c") - 4
        data = data[:start] + bytes(4) + data[start + 4 :]
    assert decode(data).shape == (70, 90, 3)
    for end in range(0, len(data) - 1, 3):
        with pytest.raises(MediaError):
            decode(data[:end])


@pytest.mark.parametrize("length", range(5, 12))
def test_an_avif_cut_within_its_brand_is_no_video(draw, encode, decode, length: int) -> None:
    data = encode(draw(90, 70), "AVIF")[:length]
    with pytest.raises(MediaError) as caught:
        decode(data)
    assert caught.value.code == "not_media"
