"""Moving pictures that every browser plays without a script: animated WebP."""

import base64
import io
from collections.abc import Sequence

from PIL import Image

from latentcache.report.markup import Markup, element
from latentcache.report.store_facts import Rgb

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
