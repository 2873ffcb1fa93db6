"""Pictures for people: an original and its reconstruction, with a strip that says what it is."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

GAP_PX = 4
PADDING_PX = 6
LINE_PX = 16
MIN_WIDTH_PX = 420
PAPER, INK = (250, 250, 250), (24, 24, 24)
CAPTION_FONT_PX = 12


def side_by_side_png(pictures: Sequence[npt.NDArray[np.uint8]], lines: Sequence[str]) -> bytes:
    """Return a PNG of ``pictures`` in a row over a caption of ``lines``.

    Args:
        pictures: uint8 (H, W, 3), of one height; shown pixel for pixel.
        lines: What the strip says; cut where it is too long for the picture.
    """
    height_px = max(picture.shape[0] for picture in pictures)
    row_px = sum(picture.shape[1] for picture in pictures) + GAP_PX * (len(pictures) - 1)
    width_px = max(row_px, MIN_WIDTH_PX)
    canvas = Image.new("RGB", (width_px, height_px + caption_px(lines)), PAPER)
    left_px = (width_px - row_px) // 2
    for picture in pictures:
        canvas.paste(Image.fromarray(np.ascontiguousarray(picture)), (left_px, 0))
        left_px += picture.shape[1] + GAP_PX
    write_lines(canvas, lines, top_px=height_px + PADDING_PX)
    return png_of(canvas)


def caption_px(lines: Sequence[str]) -> int:
    """Return the height of a strip that says ``lines``."""
    return 2 * PADDING_PX + LINE_PX * len(lines)


def caption_font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font of all captions."""
    return ImageFont.load_default(size=CAPTION_FONT_PX)


def png_of(canvas: Image.Image) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def write_lines(canvas: Image.Image, lines: Sequence[str], *, top_px: int) -> None:
    """Write ``lines`` below each other; one that is too long for the canvas is cut."""
    drawing = ImageDraw.Draw(canvas)
    font = caption_font()
    room_px = canvas.width - 2 * PADDING_PX
    for index, line in enumerate(lines):
        text = line
        while text and drawing.textlength(text, font=font) > room_px:
            text = text[:-2].rstrip("…") + "…"
        drawing.text((PADDING_PX, top_px + index * LINE_PX), text, fill=INK, font=font)
