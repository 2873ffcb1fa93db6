"""The shape that is shown: turned, mirrored, cropped, square pixels, alpha over the background."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from latentcache.core.errors import MediaError
from latentcache.decode.video.matroska_crop import Crop, read_crop
from tests.decode.boxes import with_aperture, with_matrix
from tests.decode.clips import decode, draw_numbered, encode_clip, probe, whole_clip


@pytest.fixture(scope="module")
def film() -> bytes:
    return encode_clip(4, options={"qp": "0"}, pixel_format="yuv444p", first_number=0b00010110)


LAID = {
    (1, 0, 0, 1): lambda pixels: pixels,
    (0, 1, -1, 0): lambda pixels: np.rot90(pixels, -1),
    (-1, 0, 0, -1): lambda pixels: np.rot90(pixels, 2),
    (0, -1, 1, 0): np.rot90,
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda pixels: pixels.swapaxes(0, 1),
    (0, -1, -1, 0): lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
}


@pytest.mark.parametrize("matrix", LAID)
def test_every_matrix_of_quarter_turns_and_mirrors_is_followed(
    film: bytes, matrix: tuple[int, int, int, int]
) -> None:
    data = with_matrix(film, matrix)
    info = probe(data)
    expected: NDArray[np.uint8] = LAID[matrix](draw_numbered(0b00010110))
    size = (expected.shape[1], expected.shape[0])
    assert (info.width_px, info.height_px) == size
    (clip,) = decode(data, whole_clip(1, size_px=size, source_px=size))
    assert not isinstance(clip, MediaError), clip
    assert np.abs(clip[0].astype(int) - expected).max() < 60


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (1, 1, 1, 1)])
def test_a_matrix_without_sense_turns_nothing(
    film: bytes, matrix: tuple[int, int, int, int]
) -> None:
    info = probe(with_matrix(film, matrix))
    assert (info.width_px, info.height_px) == (128, 64)


def test_motion_jpeg_with_exif_is_read_and_turned() -> None:
    """PyAV 18.1 cannot list the side data of such frames, the display matrix among them."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuvj420p"
        for number in range(3):
            picture = io.BytesIO()
            Image.fromarray(draw_numbered(number)).save(picture, "JPEG", exif=exif)
            packet = av.Packet(picture.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = number
            output.mux(packet)
    info = probe(file.getvalue())
    assert info.timeline.num_frames == 3
    assert (info.width_px, info.height_px) == (64, 128)


def element(kind: int, content: bytes) -> bytes:
    """Return an EBML element with a length of eight bytes."""
    width = (kind.bit_length() + 7) // 8
    return kind.to_bytes(width, "big") + (len(content) | 1 << 56).to_bytes(8, "big") + content


def with_crop(data: bytes, *, is_behind: bool = False) -> bytes:
    """Return a Matroska file whose first track is cropped by 16 px above and 8 at the left.

    Args:
        data: The file.
        is_behind: The header of tracks comes after the pictures, as editors leave it.
    """
    at = data.rindex(b"\x16\x54\xae\x6b")  # the list of contents has it first
    width = 9 - data[at + 4].bit_length()
    size = int.from_bytes(data[at + 4 : at + 4 + width], "big") & ((1 << 7 * width) - 1)
    end = at + 4 + width + size
    crop = element(0x54BB, b"\x10") + element(0x54CC, b"\x08")
    entry = rebuilt(data[at + 4 + width : end], [0xAE, 0xE0], crop)
    tracks = element(0x1654AE6B, entry)
    head = data.index(b"\x18\x53\x80\x67")
    rest = data[head + 12 : at] + (b"" if is_behind else tracks) + data[end:]
    return data[:head] + element(0x18538067, rest + (tracks if is_behind else b""))


def rebuilt(content: bytes, path: list[int], addition: bytes) -> bytes:
    """Return elements with an addition to the first one at a path."""
    if not path:
        return content + addition
    at, found = 0, b""
    while at < len(content):
        id_width = 9 - content[at].bit_length()
        kind = int.from_bytes(content[at : at + id_width], "big")
        width = 9 - content[at + id_width].bit_length()
        size = int.from_bytes(content[at + id_width : at + id_width + width], "big")
        size &= (1 << 7 * width) - 1
        begin = at + id_width + width
        inner = content[begin : begin + size]
        if kind == path[0]:
            inner = rebuilt(inner, path[1:], addition)
        found += element(kind, inner)
        at = begin + size
    return found


@pytest.mark.parametrize("is_behind", [False, True])
def test_what_matroska_crops_is_not_shown(is_behind: bool) -> None:
    options = {"qp": "0"}
    film = encode_clip(4, container="matroska", options=options, pixel_format="yuv444p")
    data = with_crop(film, is_behind=is_behind)
    assert read_crop(io.BytesIO(data), len(data), track=0) == Crop(left=8, top=16)
    if is_behind:
        return  # FFmpeg would find it by the list of contents, which still has the old place
    info = probe(data)
    assert (info.width_px, info.height_px) == (120, 48)
    clips = decode(data, whole_clip(1, start_s=0.12, size_px=(120, 48), source_px=(120, 48)))
    (clip,) = (each for each in clips if not isinstance(each, MediaError))
    assert np.abs(clip[0].astype(int) - draw_numbered(3)[16:, 8:]).max() < 60


@pytest.mark.parametrize(
    ("values", "crop"),
    [
        pytest.param((120, 1, 48, 1, 4, 1, 8, 1), Crop(8, 16), id="to-the-right-and-down"),
        pytest.param((120, 1, 48, 1, -4, 1, -16, 2), Crop(right=8, bottom=16), id="left-and-up"),
        pytest.param((240, 2, 64, 1, 0, 1, 0, 1), Crop(left=4, right=4), id="in-the-middle"),
        pytest.param((128, 1, 64, 1, 0, 1, 0, 1), Crop(), id="whole"),
        pytest.param((130, 1, 64, 1, 0, 1, 0, 1), Crop(), id="larger-than-frames"),
        pytest.param((120, 1, 48, 1, 40, 1, 0, 1), Crop(), id="beyond-an-edge"),
        pytest.param((120, 0, 48, 1, 0, 1, 0, 1), Crop(), id="no-number"),
        pytest.param((0, 1, 48, 1, 0, 1, 0, 1), Crop(), id="nothing"),
    ],
)
def test_the_clean_aperture_of_mp4_is_what_is_shown(
    film: bytes, values: tuple[int, ...], crop: Crop
) -> None:
    data = with_aperture(film, values)
    info = probe(data)
    size = crop.size_px(128, 64)
    assert (info.width_px, info.height_px) == size
    (clip,) = decode(data, whole_clip(1, size_px=size, source_px=size))
    assert not isinstance(clip, MediaError), clip
    rows, columns = slice(crop.top, 64 - crop.bottom), slice(crop.left, 128 - crop.right)
    assert np.abs(clip[0].astype(int) - draw_numbered(0b00010110)[rows, columns]).max() < 60


def test_a_track_without_a_crop_and_another_container_are_shown_whole() -> None:
    for container in ("matroska", "mp4"):
        data = encode_clip(2, container=container)
        assert read_crop(io.BytesIO(data), len(data), track=0) == Crop()


def broadcast(aspect: Fraction, first_number: int) -> bytes:
    """Return 24 frames of MPEG-2 whose pixels have an aspect."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as output:
        stream = output.add_stream("mpeg2video", rate=25, options={"g": "12", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 144, 112, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for number in range(first_number, first_number + 24):
            pixels = draw_numbered(number, (144, 112))
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())
    return file.getvalue()


def test_frames_of_another_pixel_aspect_than_the_first_are_refused_not_squeezed() -> None:
    narrow, wide = Fraction(28, 27), Fraction(112, 81)
    data = broadcast(narrow, 0) + broadcast(wide, 24)
    info = probe(data)
    assert (info.width_px, info.height_px) == (149, 112)
    size = {"size_px": (64, 32), "source_px": (149, 112)}
    first, across, last = decode(
        data,
        whole_clip(24, **size),
        whole_clip(3, start_s=23 / 25, **size),
        whole_clip(9, start_s=30 / 25, **size),
    )
    assert not isinstance(first, MediaError), first
    for clip in (across, last):
        assert isinstance(clip, MediaError)
        assert clip.code == "size_mismatch"
        assert "199x112" in str(clip)
    # A file that begins with the other part has the other shape.
    assert probe(broadcast(wide, 0)).width_px == 199


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_alpha_of_webm_is_laid_over_the_background(codec: str) -> None:
    pixels = np.zeros((64, 128, 4), np.uint8)
    pixels[:, 64:] = (200, 40, 30, 255)
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as output:
        options = {"auto-alt-ref": "0", "crf": "4", "b": "2M"}
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuva420p"
        stream.metadata["alpha_mode"] = "1"
        for _ in range(12):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    data = file.getvalue()
    assert probe(data).timeline.num_frames == 12
    clips = decode(
        data, whole_clip(5, size_px=(128, 64)), whole_clip(3, start_s=0.36, size_px=(128, 64))
    )
    for clip in clips:
        assert not isinstance(clip, MediaError), clip
        assert clip[:, :, :56].min() >= 250
        assert np.abs(clip[:, :, 72:].astype(int) - (200, 40, 30)).max() <= 12
