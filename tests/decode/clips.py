"""Drawn videos whose every frame says its number: eight blocks, black or white."""

import io
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.decode import (
    ClipRequest,
    ImageLimits,
    VideoInfo,
    VideoTransform,
    decode_clips,
    probe_video,
)

BITS = 8
WIDTH_PX, HEIGHT_PX = 128, 64
_TICKS_PER_S = 600


def draw_numbered(
    number: int, size_px: tuple[int, int] = (WIDTH_PX, HEIGHT_PX)
) -> NDArray[np.uint8]:
    """Return a frame (H, W, 3) that shows ``number`` in two rows of four blocks."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    blocks = np.array(bits, np.uint8).reshape(2, 4) * 215 + 20
    plane = np.kron(blocks, np.ones((size_px[1] // 2, size_px[0] // 4), np.uint8))
    return np.repeat(plane[..., None], 3, axis=2)


def read_number(pixels: NDArray[np.uint8]) -> int:
    """Return the number that a frame shows, at whatever size."""
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 4
    centres = pixels[height // 2 :: height, width // 2 :: width].mean(axis=-1).reshape(-1)
    return sum(int(value > 128) << bit for bit, value in enumerate(centres))


def encode_clip(
    num_frames: int = 40,
    *,
    container: str = "mp4",
    codec: str = "libx264",
    times_ticks: Iterable[int] | None = None,
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    size_px: tuple[int, int] = (WIDTH_PX, HEIGHT_PX),
    file_options: dict[str, str] | None = None,
    first_number: int = 0,
) -> bytes:
    """Return a video of numbered frames, 25 per second unless times are given.

    Args:
        num_frames: Frames.
        container: FFmpeg's name of the muxer.
        codec: FFmpeg's name of the encoder.
        times_ticks: When each frame is shown, in 1/600 s.
        options: Of the encoder.
        pixel_format: Of the encoder.
        size_px: (width, height).
        file_options: Of the muxer.
        first_number: That the first frame shows.
    """
    file = io.BytesIO()
    # AVI has no times, only a rate; nor have these codecs.
    has_rate_only = container == "avi" or codec in ("mpeg2video", "dvvideo")
    base = Fraction(1, 25 if has_rate_only else _TICKS_PER_S)
    times = list(times_ticks) if times_ticks is not None else [24 * k for k in range(num_frames)]
    with av.open(file, "w", format=container, options=file_options or {}) as output:
        stream = output.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size_px, pixel_format
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        for number, tick in enumerate(times):
            pixels = draw_numbered(first_number + number, size_px)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(Fraction(tick, _TICKS_PER_S) / base), base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def whole_clip(
    num_frames: int,
    *,
    start_s: float = 0.0,
    fps: float = 25.0,
    size_px: tuple[int, int] = (64, 32),
    source_px: tuple[int, int] = (WIDTH_PX, HEIGHT_PX),
) -> ClipRequest:
    """Return a clip that keeps the whole frame."""
    return ClipRequest(
        bucket=Bucket(num_frames, size_px[1], size_px[0]),
        geometry=Geometry(
            source_width_px=source_px[0],
            source_height_px=source_px[1],
            resized_width_px=size_px[0],
            resized_height_px=size_px[1],
            crop_left_px=0,
            crop_top_px=0,
        ),
        start_s=start_s,
        frame_rate_fps=fps,
    )


def decode(data: bytes, *requests: ClipRequest) -> list[NDArray[np.uint8] | MediaError]:
    """Return the clips in the order they were asked for."""
    found = dict(
        decode_clips(io.BytesIO(data), requests, size_bytes=len(data), transform=VideoTransform())
    )
    assert sorted(found) == list(range(len(requests)))
    return [found[number] for number in range(len(requests))]


def numbers(clip: NDArray[np.uint8] | MediaError) -> list[int]:
    """Return the numbers that a clip's frames show."""
    assert not isinstance(clip, MediaError), clip
    return [read_number(frame) for frame in clip]


def probe(data: bytes, **limits: int) -> VideoInfo:
    """Return what a video says."""
    return probe_video(io.BytesIO(data), size_bytes=len(data), limits=ImageLimits(**limits))
