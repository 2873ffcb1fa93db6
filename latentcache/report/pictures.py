"""Pictures: arrays as PNG, inside a page or in a file of their own."""

import io
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from latentcache.report.store_facts import Reconstruction, Rgb

_SHEET_CELL_PX, _SHEET_GAP_PX = 176, 10
_SHEET_PAPER, _SHEET_INK = (251, 250, 247), (93, 101, 112)
_SHEET_SIDE_PX, _SHEET_FONT_PX = 100, 19
"""Room at the left for the name of each line."""
_SHEET_NAMES = ("original", "latent", "decoded")


def png_bytes(pixels_HWC: Rgb) -> bytes:
    """Return the picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def latent_picture(values_CHW: npt.NDArray[np.floating]) -> Rgb:
    """Return the first three channels of a latent as colours, each stretched on its own.

    The range is the 1st to the 99th percentile of the channel. With fewer than three
    channels the first one is grey.
    """
    channels = values_CHW[:3] if len(values_CHW) >= 3 else values_CHW[[0, 0, 0]]
    flat = channels.reshape(3, -1).astype(np.float64)
    low, high = np.percentile(flat, (1, 99), axis=1)
    scaled = (flat - low[:, None]) / np.maximum(high - low, 1e-12)[:, None]
    pixels = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.reshape(channels.shape).transpose(1, 2, 0))


def sheet(rows: Sequence[Reconstruction]) -> Rgb:
    """Return a contact sheet: originals, latents and reconstructions below each other, named."""
    cell, gap = _SHEET_CELL_PX, _SHEET_GAP_PX
    has_latents = any(row.latent is not None for row in rows)
    num_lines = 3 if has_latents else 2
    names = _SHEET_NAMES if has_latents else _SHEET_NAMES[::2]
    size = (_SHEET_SIDE_PX + len(rows) * (cell + gap), gap + num_lines * (cell + gap))
    canvas = Image.new("RGB", size, _SHEET_PAPER)
    drawing, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=_SHEET_FONT_PX)
    for line, name in enumerate(names):
        middle = gap + line * (cell + gap) + cell // 2
        drawing.text((gap, middle), name, fill=_SHEET_INK, font=font, anchor="lm")
    for column, row in enumerate(rows):
        lines = (
            [row.original, row.latent, row.decoded] if has_latents else [row.original, row.decoded]
        )
        for line, pixels in enumerate(lines):
            if pixels is None:
                continue
            fitted = _fitted(pixels, is_latent=pixels is row.latent)
            left = _SHEET_SIDE_PX + column * (cell + gap) + (cell - fitted.width) // 2
            top = gap + line * (cell + gap) + (cell - fitted.height) // 2
            canvas.paste(fitted, (left, top))
    return np.asarray(canvas)


def pair_grid(
    samples: Sequence[Rgb], nearest: Sequence[Rgb], *, num_columns: int, scale: int = 1
) -> Rgb:
    """Return samples with their nearest pictures to the right, pair by pair; see ``mosaic``.

    Args:
        samples: In reading order.
        nearest: One per sample.
        num_columns: Pairs in a line.
        scale: See ``mosaic``.
    """
    pairs = [np.concatenate(pair, axis=1) for pair in zip(samples, nearest, strict=True)]
    starts = range(0, len(pairs), num_columns)
    return mosaic([pairs[start : start + num_columns] for start in starts], scale=scale)


def mosaic(lines: Sequence[Sequence[Rgb]], *, scale: int) -> Rgb:
    """Return lines of pictures of one size, RGBA: gaps are clear and show what is behind.

    Args:
        lines: Below each other; a short one ends early.
        scale: Whole; each pixel becomes a square of so many.
    """
    height, width = lines[0][0].shape[:2]
    gap = max(1, height // 10)
    num_columns = max(len(line) for line in lines)
    size = (len(lines) * (height + gap) - gap, num_columns * (width + gap) - gap, 4)
    canvas = np.zeros(size, dtype=np.uint8)
    for line, pictures in enumerate(lines):
        for column, pixels in enumerate(pictures):
            top, left = line * (height + gap), column * (width + gap)
            canvas[top : top + height, left : left + width, :3] = pixels
            canvas[top : top + height, left : left + width, 3] = 255
    return canvas.repeat(scale, axis=0).repeat(scale, axis=1)


def on_paper(pixels_HWC: Rgb, *, margin_px: int, names: Sequence[str] = ()) -> Rgb:
    """Return an RGBA picture on the sheet's paper, RGB, with a margin.

    Args:
        pixels_HWC: The picture.
        margin_px: On all sides.
        names: Of its lines, which are equally high; written to their left.
    """
    image, font = Image.fromarray(pixels_HWC), ImageFont.load_default(size=_SHEET_FONT_PX)
    widest_px = max((math.ceil(font.getlength(name)) for name in names), default=-margin_px)
    left = widest_px + 2 * margin_px
    size = (image.width + left + margin_px, image.height + 2 * margin_px)
    paper = Image.new("RGB", size, _SHEET_PAPER)
    paper.paste(image, (left, margin_px), image)
    drawing = ImageDraw.Draw(paper)
    for number, name in enumerate(names):
        middle = margin_px + (number + 0.5) * image.height / len(names)
        drawing.text((left - margin_px, middle), name, fill=_SHEET_INK, font=font, anchor="rm")
    return np.asarray(paper)


def _fitted(pixels_HWC: Rgb, *, is_latent: bool) -> Image.Image:
    image = Image.fromarray(pixels_HWC)
    scale = _SHEET_CELL_PX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    method = Image.Resampling.NEAREST if is_latent else Image.Resampling.LANCZOS
    return image.resize(size, method)
