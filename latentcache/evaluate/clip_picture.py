"""Clips for people: original above decoded, as a contact sheet of some frames and as an MP4.

Dimension letters: T frames, H height, W width.
"""

import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image, ImageDraw

from latentcache.core.errors import RunError
from latentcache.evaluate.picture import (
    CAPTION_FONT_PX,
    GAP_PX,
    INK,
    LINE_PX,
    MIN_WIDTH_PX,
    PADDING_PX,
    PAPER,
    caption_font,
    caption_px,
    png_of,
    write_lines,
)

Frames = npt.NDArray[np.uint8]

MOST_FRAMES = 24
"""On a contact sheet; a longer clip shows the first, the last and some between."""
_SHEET_WIDTH_PX = 1280
_CELL_PX = 256
"""Longer side of a frame on a sheet; what is smaller is shown pixel for pixel."""
_SIDE_PX = 62
"""Room to the left of a row for its name."""
_NAMES = ("original", "decoded")
_CODECS = ("libx264", "libopenh264")
_QUALITY = {"libx264": {"crf": "14", "preset": "medium"}, "libopenh264": {"rc_mode": "quality"}}


def contact_sheet_png(
    original: Frames, decoded: Frames, lines: Sequence[str], *, frame_rate_fps: float
) -> bytes:
    """Return a PNG of frames in reading order, the original above the decoded, over a caption.

    Args:
        original: uint8 (T, H, W, 3).
        decoded: Of the same shape.
        lines: What the strip says.
        frame_rate_fps: Tells when a frame is shown.
    """
    shown = _evenly(len(original), MOST_FRAMES)
    width, height = _cell(original.shape[2], original.shape[1])
    columns = max(1, min(len(shown), (_SHEET_WIDTH_PX - _SIDE_PX) // (width + GAP_PX)))
    pair_px = 2 * height + GAP_PX + LINE_PX + 2 * GAP_PX
    num_rows = -(-len(shown) // columns)
    canvas_px = (
        max(_SIDE_PX + columns * (width + GAP_PX), MIN_WIDTH_PX),
        num_rows * pair_px + caption_px(lines),
    )
    canvas = Image.new("RGB", canvas_px, PAPER)
    drawing, font = ImageDraw.Draw(canvas), caption_font()
    for place, index in enumerate(shown):
        row, column = divmod(place, columns)
        left, top = _SIDE_PX + column * (width + GAP_PX), row * pair_px + GAP_PX
        for line, (frames, name) in enumerate(zip((original, decoded), _NAMES, strict=True)):
            at = top + line * (height + GAP_PX)
            canvas.paste(_fitted(frames[index], (width, height)), (left, at))
            if column == 0:
                middle = at + (height - CAPTION_FONT_PX) // 2
                drawing.text((PADDING_PX, middle), name, fill=INK, font=font)
        stamp = f"{index / frame_rate_fps:.2f} s"
        drawing.text((left, top + 2 * height + 2 * GAP_PX - 2), stamp, fill=INK, font=font)
    write_lines(canvas, lines, top_px=num_rows * pair_px + PADDING_PX)
    return png_of(canvas)


def stacked_mp4(
    original: Frames, decoded: Frames, lines: Sequence[str], *, frame_rate_fps: float
) -> bytes:
    """Return an MP4, H.264 as browsers play it: the original above the decoded, over a caption.

    Args:
        original: uint8 (T, H, W, 3), shown pixel for pixel.
        decoded: Of the same shape.
        lines: What the strip says; a line with the time and the frame's number is added.
        frame_rate_fps: Of the clip.

    Raises:
        RunError: This PyAV cannot write H.264.
    """
    rate = Fraction(frame_rate_fps).limit_denominator(1001)
    pictures = _stacked(original, decoded, lines, frame_rate_fps)
    # With its index first a browser may begin early; FFmpeg needs a file by name for that.
    with tempfile.TemporaryDirectory(prefix="latentcache-show-") as folder:
        path = Path(folder) / "clip.mp4"
        _write_mp4(path, pictures, rate)
        return path.read_bytes()


def _write_mp4(path: Path, pictures: Iterator[Image.Image], rate: Fraction) -> None:
    codec = _find_codec()
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as output:
        stream = output.add_stream(codec, rate=rate, options=_QUALITY[codec])
        assert isinstance(stream, av.VideoStream)
        for number, picture in enumerate(pictures):
            if number == 0:
                _describe(stream, picture.size)
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            frame.pts, frame.time_base = number, 1 / rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def _describe(stream: av.VideoStream, size: tuple[int, int]) -> None:
    """Say how large the pictures are and what their numbers mean: players guess otherwise."""
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace = Colorspace.ITU709
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    context.color_range = ColorRange.MPEG


def _stacked(
    original: Frames, decoded: Frames, lines: Sequence[str], frame_rate_fps: float
) -> Iterator[Image.Image]:
    num_frames, height, width = original.shape[:3]
    size = (max(width, MIN_WIDTH_PX), 2 * height + GAP_PX + caption_px([*lines, ""]))
    # 4:2:0 has one colour for two by two pixels.
    even = (size[0] + size[0] % 2, size[1] + size[1] % 2)
    left, top = (even[0] - width) // 2, 2 * height + GAP_PX + PADDING_PX
    ground = Image.new("RGB", even, PAPER)
    write_lines(ground, lines, top_px=top + LINE_PX)
    for index in range(num_frames):
        picture = ground.copy()
        picture.paste(Image.fromarray(original[index]), (left, 0))
        picture.paste(Image.fromarray(decoded[index]), (left, height + GAP_PX))
        now = f"{index / frame_rate_fps:.2f} s, frame {index + 1} of {num_frames}"
        now += ": original above decoded"
        write_lines(picture, [now], top_px=top)
        yield picture


def _find_codec() -> str:
    for name in _CODECS:
        if name in av.codecs_available:
            return name
    raise RunError(
        f"PyAV must be able to write H.264, got one without {' and '.join(_CODECS)}; "
        "install its wheel, or write a .png"
    )


def _evenly(num_frames: int, most: int) -> list[int]:
    """Return all frames, or ``most`` of them with the first and the last."""
    places = np.linspace(0, num_frames - 1, min(most, num_frames))
    indices: list[int] = np.unique(places.round().astype(int)).tolist()
    return indices


def _cell(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, _CELL_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _fitted(pixels: Frames, size: tuple[int, int]) -> Image.Image:
    picture = Image.fromarray(pixels)
    if picture.size == size:
        return picture
    return picture.resize(size, Image.Resampling.LANCZOS)
