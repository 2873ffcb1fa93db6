"""Samples of a model as one picture: each with what it was told, a line above all of them."""

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from latentcache.report.sample_sheet import shortened
from latentcache.report.store_facts import Rgb

_GAP_PX, _LINE_PX, _FONT_PX, _LEAST_PX = 8, 17, 13, 96
_PAPER, _INK, _SOFT = (251, 250, 247), (29, 33, 41), (93, 101, 112)


def labelled_png(
    samples: Sequence[Sequence[Rgb]], labels: Sequence[str], *, title: str, across: int
) -> bytes:
    """Return a PNG of samples with a gutter between them; those of few pixels are enlarged.

    Args:
        samples: Pictures of each, uint8 HWC of one size: one, or some frames of a clip.
        labels: Below each; all empty for none.
        title: Above all.
        across: Samples in a line.
    """
    height, width = samples[0][0].shape[:2]
    scale = max(1, math.ceil(_LEAST_PX / width))
    cell = (width * scale * len(samples[0]), height * scale)
    text_px = _LINE_PX if any(labels) else 0
    step = (cell[0] + _GAP_PX, cell[1] + text_px + _GAP_PX)
    num_lines = -(-len(samples) // across)
    across = min(across, len(samples))
    size = (across * step[0] + _GAP_PX, num_lines * step[1] + _GAP_PX + _LINE_PX)
    canvas = Image.new("RGB", size, _PAPER)
    drawing, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=_FONT_PX)
    room_px = size[0] - 2 * _GAP_PX
    drawing.text((_GAP_PX, 4), shortened(title, drawing, font, room_px), fill=_SOFT, font=font)
    for number, (pictures, label) in enumerate(zip(samples, labels, strict=True)):
        line, at = divmod(number, across)
        left, top = _GAP_PX + at * step[0], _GAP_PX + _LINE_PX + line * step[1]
        for index, pixels in enumerate(pictures):
            picture = Image.fromarray(pixels)
            if scale > 1:  # cells of latents and small pictures stay what they are
                size_px = (width * scale, height * scale)
                picture = picture.resize(size_px, Image.Resampling.NEAREST)
            canvas.paste(picture, (left + index * picture.width, top))
        words = shortened(label, drawing, font, cell[0])
        drawing.text((left, top + cell[1] + 1), words, fill=_INK, font=font)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
