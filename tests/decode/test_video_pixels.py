"""Colours, rotation, pixel aspect, fields and alpha of video frames."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from latentcache.core.errors import MediaError
from latentcache.decode import VideoTransform
from latentcache.decode.clips import video_pixels
from latentcache.decode.clips.video_pixels import FrameConverter
from latentcache.decode.pixels.gamut import BT2020, ColourTag
from latentcache.decode.pixels.tone import to_srgb_by_tag

COLOURS = [(200, 40, 30), (30, 180, 60), (40, 60, 210), (128, 128, 128), (250, 250, 250), (5, 5, 5)]


def yuv_frame(
    rgb: tuple[int, int, int],
    *,
    size_px: tuple[int, int] = (64, 32),
    matrix: Colorspace = Colorspace.ITU709,
    is_full: bool = False,
    pixel_format: str = "yuv420p",
) -> av.VideoFrame:
    """Return a frame of one colour, as a camera of that matrix and range writes it."""
    pixels = np.full((size_px[1], size_px[0], 3), rgb, np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    return frame.reformat(
        format=pixel_format,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
    )


def convert(frame: av.VideoFrame, size_px: tuple[int, int] = (16, 8)) -> NDArray[np.uint8]:
    return FrameConverter(VideoTransform()).convert(frame, size_px)


@pytest.mark.parametrize("rgb", COLOURS)
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize(
    ("code", "matrix"),
    [(1, Colorspace.ITU709), (6, Colorspace.ITU601), (9, Colorspace.BT2020)],
)
def test_the_named_matrix_and_range_give_the_colour_back(
    rgb: tuple[int, int, int], is_full: bool, pixel_format: str, code: int, matrix: Colorspace
) -> None:
    frame = yuv_frame(rgb, matrix=matrix, is_full=is_full, pixel_format=pixel_format)
    frame.colorspace, frame.color_range = code, 2 if is_full else 1
    assert np.abs(convert(frame).astype(int) - rgb).max() <= 3


@pytest.mark.parametrize(
    ("size_px", "matrix"),
    [((1280, 720), Colorspace.ITU709), ((720, 576), Colorspace.ITU601)],
)
def test_an_unnamed_matrix_is_guessed_by_size(size_px: tuple[int, int], matrix: Colorspace) -> None:
    frame = yuv_frame((30, 180, 60), size_px=size_px, matrix=matrix)
    frame.colorspace, frame.color_range = 2, 0
    assert np.abs(convert(frame).astype(int) - (30, 180, 60)).max() <= 3


def interlaced_frame(order: str, size_px: tuple[int, int] = (128, 64)) -> av.VideoFrame:
    """Return a frame whose top field is white and whose bottom one black, as a codec gives it."""
    pixels = np.zeros((size_px[1], size_px[0], 3), np.uint8)
    pixels[::2] = 255
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=size_px[0],
        height=size_px[1],
        format=av.VideoFormat("rgb24"),
        time_base=Fraction(1, 25),
    )
    order_filter, sink = graph.add("setfield", order), graph.add("buffersink")
    planes = graph.add("format", "yuv444p")
    source.link_to(planes)
    planes.link_to(order_filter)
    order_filter.link_to(sink)
    graph.configure()
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("libx264", rate=25, options={"flags": "+ildct+ilme", "qp": "0"})
        stream.width, stream.height, stream.pix_fmt = *size_px, "yuv444p"
        graph.vpush(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
        frame = graph.vpull()
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with av.open(io.BytesIO(file.getvalue())) as container:
        return next(container.decode(video=0))


@pytest.mark.parametrize("size_px", [(128, 64), (64, 32), (100, 50)])
@pytest.mark.parametrize(("order", "expected"), [("tff", 255), ("bff", 0)])
def test_an_interlaced_frame_is_seen_by_the_field_that_is_shown_first_alone(
    order: str, expected: int, size_px: tuple[int, int]
) -> None:
    frame = interlaced_frame(order)
    assert frame.interlaced_frame
    for _ in range(3):  # the converter keeps what it set up
        assert np.abs(convert(frame, size_px).astype(int) - expected).max() <= 2


def test_the_first_field_is_told_of_each_frame_anew() -> None:
    frames = {order: interlaced_frame(order) for order in ("tff", "bff")}
    converter = FrameConverter(VideoTransform())
    for order in ("tff", "bff", "bff", "tff", "bff"):
        expected = 255 if order == "tff" else 0
        assert abs(converter.convert(frames[order], (64, 32)).mean() - expected) <= 2


def test_alpha_shows_the_background() -> None:
    pixels = np.zeros((32, 64, 4), np.uint8)
    pixels[:, 32:] = (200, 40, 30, 255)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgba")
    found = convert(frame, (64, 32))
    assert found[:, :28].min() == 255
    assert np.abs(found[:, 36:].astype(int) - (200, 40, 30)).max() <= 1


@pytest.mark.parametrize(
    ("aspect", "size_px"), [(Fraction(16, 15), (768, 576)), (Fraction(1, 2), (720, 1152))]
)
def test_pixels_are_made_square_by_stretching(aspect: Fraction, size_px: tuple[int, int]) -> None:
    frame = yuv_frame((10, 10, 10), size_px=(720, 576))
    assert FrameConverter(VideoTransform()).upright_size(frame, aspect) == size_px


def test_hdr_may_be_refused() -> None:
    frame = yuv_frame((200, 200, 200), pixel_format="yuv420p10le", matrix=Colorspace.BT2020)
    frame.color_trc, frame.colorspace, frame.color_range = 16, 9, 1
    assert convert(frame).shape == (8, 16, 3)
    with pytest.raises(MediaError, match="HDR"):
        FrameConverter(VideoTransform(hdr="refuse")).convert(frame, (16, 8))


def pq(nits: float) -> int:
    """Return the 16-bit code of a luminance; source: SMPTE ST 2084."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = (nits / 10_000) ** m1
    return round(65535 * ((c1 + c2 * power) / (1 + c3 * power)) ** m2)


def tone_mapped(pixels: NDArray[np.uint16], *, curve: str) -> NDArray[np.uint8]:
    return to_srgb_by_tag(pixels, ColourTag(curve=curve, primaries=BT2020))


def grey(code: int) -> NDArray[np.uint16]:
    return np.full((1, 1, 3), code, np.uint16)


def test_hdr_greys_stay_grey_and_in_order() -> None:
    levels = [tone_mapped(grey(pq(nits)), curve="pq")[0, 0] for nits in (0, 1, 20, 203, 600, 1000)]
    assert all(level.max() - level.min() <= 1 for level in levels)
    means = [int(level.mean()) for level in levels]
    assert means == sorted(set(means))
    assert means[0] == 0
    assert means[-1] == 255


def test_both_hdr_curves_agree_about_reference_white() -> None:
    # HLG's reference white is 75 % of the signal, PQ's is 203 nits; source: ITU-R BT.2408.
    by_pq = tone_mapped(grey(pq(203)), curve="pq").mean()
    by_hlg = tone_mapped(grey(round(0.75 * 65535)), curve="hlg").mean()
    assert abs(by_pq - by_hlg) <= 2


PLANAR = [
    "yuv420p",
    "yuvj422p",
    "yuv444p",
    "yuv411p",
    "nv12",
    "yuv420p10le",
    "p010le",
    "yuv444p12le",
]


@pytest.mark.parametrize("pixel_format", PLANAR)
@pytest.mark.parametrize("size_px", [(96, 64), (33, 17), (160, 130)])
def test_the_way_over_planes_gives_the_values_of_the_way_without(
    pixel_format: str, size_px: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pixel_format)
    planar = convert(frame, size_px)
    monkeypatch.setattr(video_pixels, "_PLANAR", ("none",))
    assert np.array_equal(planar, convert(frame, size_px))
