"""Moving pictures that every browser plays without a script: animated WebP."""

import base64
import io
from collections.abc import Sequence

from PIL import Image

from latentcache.demo.page.training_facts import SampleGrid
from latentcache.report import Markup, Rgb, element, mosaic, pair_grid

_QUALITY = 88


def webp_bytes(frames: Sequence[Rgb], *, frame_rate_fps: float) -> bytes:
    """Return frames (H, W, 3 or 4) as a WebP that plays for ever."""
    first, *later = (Image.fromarray(frame) for frame in frames)
    buffer = io.BytesIO()
    first.save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=later,
        duration=round(1000 / frame_rate_fps),
        loop=0,
        quality=_QUALITY,
        method=4,
    )
    return buffer.getvalue()


def animation(frames: Sequence[Rgb], alt: str, *, frame_rate_fps: float, style: str = "") -> Markup:
    """Return an ``img`` with the animation inside it."""
    data = base64.b64encode(webp_bytes(frames, frame_rate_fps=frame_rate_fps)).decode("ascii")
    height, width = frames[0].shape[:2]
    attributes: dict[str, str | int | float] = {"src": f"data:image/webp;base64,{data}", "alt": alt}
    attributes |= {"width": width, "height": height}
    return element("img", attributes | ({"class": style} if style else {}))


def clip_grid(
    samples: Sequence[Rgb], nearest: Sequence[Rgb], *, num_columns: int, scale: int = 1
) -> list[Rgb]:
    """Return the frames of clips THWC with their nearest clips to the right, pair by pair.

    The last frame is left out: in a loop it is the first one again.

    Args:
        samples: In reading order, all equally long.
        nearest: One per sample.
        num_columns: Pairs in a line.
        scale: Whole; each pixel becomes a square of so many.
    """
    return [
        pair_grid(
            [clip[time] for clip in samples],
            [clip[time] for clip in nearest],
            num_columns=num_columns,
            scale=scale,
        )
        for time in range(len(samples[0]) - 1)
    ]


def training_strip(grids: Sequence[SampleGrid], *, num_colours: int, scale: int = 1) -> Rgb:
    """Return a line of samples per stage, and below them what the last ones are nearest to.

    Two colours of every shape are shown, taking turns.

    Args:
        grids: Stages, their samples shape by shape.
        num_colours: Samples of one shape.
        scale: See ``mosaic``.
    """
    chosen = [
        index
        for index in range(len(grids[-1].samples))
        if index % num_colours % 2 == index // num_colours % 2
    ]
    lines = [grid.samples for grid in grids] + [grids[-1].nearest]
    return mosaic([[line[index] for index in chosen] for line in lines], scale=scale)
