"""Pictures: arrays as PNG, inside a page as data URIs or in a file of their own."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from latentcache.report.facts import Reconstruction, Rgb
from latentcache.report.markup import Markup, element

_SHEET_CELL_PX, _SHEET_GAP_PX = 176, 10
_SHEET_PAPER = (251, 250, 247)


def png_bytes(pixels_HWC: Rgb) -> bytes:
    """Return the picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def picture(pixels_HWC: Rgb, alt: str, *, style: str = "") -> Markup:
    """Return an ``img`` with the picture inside it, lossless."""
    data = base64.b64encode(png_bytes(pixels_HWC)).decode("ascii")
    height, width = pixels_HWC.shape[:2]
    attributes: dict[str, str | int | float] = {"src": f"data:image/png;base64,{data}", "alt": alt}
    attributes |= {"width": width, "height": height}
    return element("img", attributes | ({"class": style} if style else {}))


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
    """Return a contact sheet: originals, latents and reconstructions below each other."""
    cell, gap = _SHEET_CELL_PX, _SHEET_GAP_PX
    has_latents = any(row.latent is not None for row in rows)
    num_lines = 3 if has_latents else 2
    size = (gap + len(rows) * (cell + gap), gap + num_lines * (cell + gap))
    canvas = Image.new("RGB", size, _SHEET_PAPER)
    for column, row in enumerate(rows):
        lines = (
            [row.original, row.latent, row.decoded] if has_latents else [row.original, row.decoded]
        )
        for line, pixels in enumerate(lines):
            if pixels is None:
                continue
            fitted = _fitted(pixels, is_latent=pixels is row.latent)
            left = gap + column * (cell + gap) + (cell - fitted.width) // 2
            top = gap + line * (cell + gap) + (cell - fitted.height) // 2
            canvas.paste(fitted, (left, top))
    return np.asarray(canvas)


def _fitted(pixels_HWC: Rgb, *, is_latent: bool) -> Image.Image:
    image = Image.fromarray(pixels_HWC)
    scale = _SHEET_CELL_PX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    method = Image.Resampling.NEAREST if is_latent else Image.Resampling.LANCZOS
    return image.resize(size, method)
