"""Pictures for people: an original and its reconstruction, with a strip that says what it is."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

_GAP_PX = 4
_PADDING_PX = 6
_LINE_PX = 16
_MIN_WIDTH_PX = 420
_PAPER, _INK = (250, 250, 250), (24, 24, 24)


def side_by_side_png(pictures: Sequence[npt.NDArray[np.uint8]], lines: Sequence[str]) -> bytes:
    """Return a PNG of ``pictures`` in a row over a caption of ``lines``.

    Args:
        pictures: uint8 (H, W, 3), of one height; shown pixel for pixel.
        lines: What the strip says; cut where it is too long for the picture.
    """
    height_px = max(picture.shape[0] for picture in pictures)
    row_px = sum(picture.shape[1] for picture in pictures) + _GAP_PX * (len(pictures) - 1)
    width_px = max(row_px, _MIN_WIDTH_PX)
    strip_px = 2 * _PADDING_PX + _LINE_PX * len(lines)
    canvas = Image.new("RGB", (width_px, height_px + strip_px), _PAPER)
    left_px = (width_px - row_px) // 2
    for picture in pictures:
        canvas.paste(Image.fromarray(np.ascontiguousarray(picture)), (left_px, 0))
        left_px += picture.shape[1] + _GAP_PX
    _write_lines(canvas, lines, top_px=height_px + _PADDING_PX)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def film_strip(pixels: npt.NDArray[np.uint8], *, most: int = 6) -> npt.NDArray[np.uint8]:
    """Return frames of a clip in a row, uint8 (H, W, 3): the first, the last, some between.

    A picture is returned as it is.

    Args:
        pixels: (T, H, W, 3), or (H, W, 3).
        most: Frames to show.
    """
    if pixels.ndim == 3:
        return pixels
    shown = np.unique(np.linspace(0, len(pixels) - 1, min(most, len(pixels))).round().astype(int))
    gap = np.full((pixels.shape[1], _GAP_PX, 3), _PAPER, np.uint8)
    parts = [part for index in shown.tolist() for part in (pixels[index], gap)]
    return np.concatenate(parts[:-1], axis=1)


def above_each_other(pictures: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Return pictures of one width in a column, uint8 (H, W, 3)."""
    gap = np.full((_GAP_PX, pictures[0].shape[1], 3), _PAPER, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=0)


def _write_lines(canvas: Image.Image, lines: Sequence[str], *, top_px: int) -> None:
    drawing = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=12)
    room_px = canvas.width - 2 * _PADDING_PX
    for index, line in enumerate(lines):
        text = line
        while text and drawing.textlength(text, font=font) > room_px:
            text = text[:-2].rstrip("…") + "…"
        drawing.text((_PADDING_PX, top_px + index * _LINE_PX), text, fill=_INK, font=font)
