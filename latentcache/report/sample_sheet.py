"""A sheet of samples as one picture: original, decoded and latent, with what each is."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from latentcache.report.gallery import GalleryItem
from latentcache.report.store_facts import Rgb

_VIEW_PX, _GAP_PX, _LINE_PX, _FONT_PX = 168, 8, 17, 13
_ACROSS = 2
_PAPER, _INK, _SOFT = (251, 250, 247), (29, 33, 41), (93, 101, 112)
_VIEWS = ("original", "decoded", "latent")
_ITEM_HEIGHT_PX = _VIEW_PX + 3 * _LINE_PX + 2 * _GAP_PX


def samples_png(items: Sequence[GalleryItem], column: str) -> bytes:
    """Return a PNG of ``items``, two in a line; of clips the frame in the middle.

    What none of them has, as codes and clips have no latent to look at, takes no room.

    Args:
        items: In reading order.
        column: Said at the top.
    """
    views = [name for name in _VIEWS if any(getattr(item, name) is not None for item in items)]
    width_px = len(views) * (_VIEW_PX + _GAP_PX) + 2 * _GAP_PX
    num_lines = -(-len(items) // _ACROSS)
    size = (min(_ACROSS, len(items)) * width_px, num_lines * _ITEM_HEIGHT_PX + _LINE_PX)
    canvas = Image.new("RGB", size, _PAPER)
    font = ImageFont.load_default(size=_FONT_PX)
    drawing = ImageDraw.Draw(canvas)
    colours = " (three channels as colours)" if "latent" in views else ""
    head = f"{column}: each {', '.join(views)}{colours}"
    drawing.text((_GAP_PX, 2), head, fill=_SOFT, font=font)
    for place, item in enumerate(items):
        line, at = divmod(place, _ACROSS)
        left, top = at * width_px + _GAP_PX, line * _ITEM_HEIGHT_PX + _LINE_PX + _GAP_PX
        for index, name in enumerate(views):
            pixels = getattr(item, name)
            if pixels is not None:
                view = _fitted(_still(pixels), is_latent=name == "latent")
                x = left + index * (_VIEW_PX + _GAP_PX) + (_VIEW_PX - view.width) // 2
                canvas.paste(view, (x, top + (_VIEW_PX - view.height) // 2))
        words = (
            (item.title, _INK),
            (f"{item.size}   {item.psnr_db:.1f} dB   {item.key}", _SOFT),
            (item.source if item.source != item.title else "", _SOFT),
        )
        for row, (text, ink) in enumerate(words):
            y = top + _VIEW_PX + 4 + row * _LINE_PX
            room_px = width_px - 2 * _GAP_PX
            drawing.text((left, y), shortened(text, drawing, font, room_px), fill=ink, font=font)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def _still(pixels: Rgb) -> Rgb:
    return pixels if pixels.ndim == 3 else pixels[len(pixels) // 2]


def _fitted(pixels: Rgb, *, is_latent: bool) -> Image.Image:
    image = Image.fromarray(pixels)
    scale = _VIEW_PX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # A latent cell is a square of its own; a picture is smooth.
    how = Image.Resampling.NEAREST if is_latent else Image.Resampling.LANCZOS
    return image.resize(size, how)


def shortened(
    text: str,
    drawing: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    room_px: int,
) -> str:
    """Return a text on one line, cut with an ellipsis to so many pixels."""
    text = " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")
    while text and drawing.textlength(text, font=font) > room_px:
        text = text[:-2].rstrip("…") + "…"
    return text
