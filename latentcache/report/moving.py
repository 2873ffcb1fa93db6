"""Moving pictures that every browser plays without a script: animated WebP."""

import io
from collections.abc import Sequence

from PIL import Image

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
