"""What FFmpeg makes of fixed frames: the part of a clip's pixels that is its own."""

from functools import lru_cache

import numpy as np
from av.video.frame import VideoFrame

from latentcache.decode.clips.video_pixels import FrameConverter, Pixels
from latentcache.decode.library_facts import digest_of, drawn_noise
from latentcache.decode.pixel_options import VideoTransform

_WIDTH_PX, _HEIGHT_PX = 64, 48
_SIZES_PX = ((64, 48), (40, 30))


def clip_facts() -> dict[str, str]:
    """Return a digest by each way in which libraries make a frame's pixels."""
    return dict(_clip_facts())


@lru_cache(maxsize=1)
def _clip_facts() -> dict[str, str]:
    converter = FrameConverter(VideoTransform())
    found: list[Pixels] = []
    for pixel_format, num_bytes, primaries in (
        ("yuv420p", 1, 1),
        ("yuv422p10le", 2, 1),
        ("yuv420p10le", 2, 9),  # of a wide gamut: resized by the scaler, summed here
    ):
        frame = _drawn_frame(pixel_format, num_bytes)
        frame.color_primaries = primaries
        found.extend(converter.convert(frame, size) for size in _SIZES_PX)
    return {"scaler": digest_of(*found)}


def _drawn_frame(pixel_format: str, num_bytes: int) -> VideoFrame:
    """Return noise in planes of 8 bits, or of 10 bits in 16."""
    frame = VideoFrame(_WIDTH_PX, _HEIGHT_PX, pixel_format)
    for plane in frame.planes:
        noise = drawn_noise(plane.height, plane.width, num_bytes)
        if num_bytes == 2:
            noise[..., 1] &= 3
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        lines[: plane.height, : plane.width * num_bytes] = noise.reshape(plane.height, -1)
    return frame
