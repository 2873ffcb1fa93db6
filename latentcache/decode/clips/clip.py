"""Clips of a video to their buckets' pixels, all clips of a file in one pass over it.

A clip is times, not frames: ``start_s + k / frame_rate_fps`` seconds after the first frame
of the file. Of each time the frame shown then is taken (``Timeline.shown_at``), so a variable
rate, a rounded clock and a rate that is not the file's are one and the same case.

Dimension letters: T frames, H height, W width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import BinaryIO

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.core.rejects import RejectCode
from latentcache.decode.clips.decoded_frames import FrameReader
from latentcache.decode.clips.video_pixels import FrameConverter
from latentcache.decode.pixel_options import VideoTransform
from latentcache.decode.video.timeline import Timeline
from latentcache.decode.video.video_file import open_video

ClipPixels = NDArray[np.uint8]

_LATE_FRAMES = 0.75
"""How many frames after the last one a clip may still ask for it: rounding, not missing data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRequest:
    """One clip as the plan has it.

    Attributes:
        bucket: Frames and size to return.
        geometry: How upright frames are resized and cropped.
        start_s: Of the first frame, from the first frame of the file.
        frame_rate_fps: Frames per second of the clip.
        numbers: Which frames of the clip are returned, ascending from 0; () is the first ones.
    """

    bucket: Bucket
    geometry: Geometry
    start_s: float
    frame_rate_fps: float
    numbers: tuple[int, ...] = ()

    @classmethod
    def of_sample(
        cls,
        bucket: Bucket,
        geometry: Geometry,
        *,
        start_s: float | None,
        frame_rate_fps: float | None,
        numbers: tuple[int, ...] = (),
    ) -> "ClipRequest | None":
        """Return which frames of a video a planned sample is; None for a picture."""
        if start_s is None or frame_rate_fps is None:
            return None
        return cls(
            bucket=bucket,
            geometry=geometry,
            start_s=start_s,
            frame_rate_fps=frame_rate_fps,
            numbers=numbers,
        )

    def times_s(self) -> list[float]:
        """Return when its frames are shown in the file."""
        numbers = self.numbers or range(self.bucket.num_frames)
        return [self.start_s + k / self.frame_rate_fps for k in numbers]


@dataclass(slots=True)
class _OpenClip:
    """A clip that is being filled."""

    number: int
    request: ClipRequest
    frames: list[int]
    pixels_THWC: ClipPixels = field(repr=False)
    failure: MediaError | None = None


def clip_frames(timeline: Timeline, request: ClipRequest) -> list[int]:
    """Return the file's frames that make a clip, ascending, one per frame of the bucket.

    Raises:
        MediaError: The clip begins before the file or goes past its end.
    """
    times = request.times_s()
    last_s = timeline.time_s(timeline.num_frames - 1)
    if times[0] < 0 or times[-1] > last_s + _LATE_FRAMES * timeline.frame_s:
        raise MediaError(
            RejectCode.CHANGED.word,
            f"the clip asks for {times[0]:.3f} to {times[-1]:.3f} s of a video whose last frame "
            f"is at {last_s:.3f} s; plan the corpus again",
        )
    frames: list[int] = timeline.shown_at(times).tolist()
    return frames


def decode_clips(
    file: BinaryIO,
    requests: Sequence[ClipRequest],
    *,
    size_bytes: int,
    transform: VideoTransform,
    into: Sequence[ClipPixels] = (),
) -> Iterator[tuple[int, ClipPixels | MediaError]]:
    """Yield each clip's number with its pixels, uint8 sRGB (T, H, W, 3), or what is wrong.

    Clips come as they are complete. A frame is decoded once, however many clips share it,
    and resized on the way: no frame is kept at its full size.

    Args:
        file: Seekable.
        requests: Clips of this file, in any order.
        size_bytes: Of the whole file.
        transform: Colour and resize rules.
        into: Where each clip's pixels go; new memory if there is none. What a clip that
            fails leaves there means nothing.

    Raises:
        MediaError: The file is no video we read; no clip of it can be had.
    """
    with open_video(file, size_bytes=size_bytes) as video:
        timeline = video.read_timeline()
        reader = FrameReader(video, timeline)
        converter = FrameConverter(transform, video.crop)
        waiting: list[_OpenClip] = []
        for number, request in enumerate(requests):
            try:
                frames = clip_frames(timeline, request)
            except MediaError as error:
                yield number, error
            else:
                pixels = into[number] if into else _nothing()
                waiting.append(_OpenClip(number, request, frames, pixels))
        waiting.sort(key=lambda clip: clip.frames)
        filling: list[_OpenClip] = []
        while waiting or filling:
            index = _next_frame(waiting, filling)
            while waiting and waiting[0].frames[0] <= index:
                filling.append(_begun(waiting.pop(0)))
            _fill(filling, index, reader, converter)
            done = [clip for clip in filling if clip.failure or not clip.frames]
            filling = [clip for clip in filling if clip not in done]
            for clip in done:
                yield clip.number, clip.failure or clip.pixels_THWC


def decode_clip(
    file: BinaryIO, request: ClipRequest, *, size_bytes: int, transform: VideoTransform
) -> ClipPixels:
    """Return one clip, uint8 sRGB (T, H, W, 3).

    Args:
        file: Seekable.
        request: The clip.
        size_bytes: Of the whole file.
        transform: Colour and resize rules.

    Raises:
        MediaError: It cannot be had.
    """
    _, found = next(decode_clips(file, [request], size_bytes=size_bytes, transform=transform))
    if isinstance(found, MediaError):
        raise found
    return found


def _nothing() -> ClipPixels:
    return np.empty((0, 0, 0, 3), np.uint8)


def _begun(clip: _OpenClip) -> _OpenClip:
    if clip.pixels_THWC.size:
        return clip
    bucket = clip.request.bucket
    shape = (bucket.num_frames, bucket.height_px, bucket.width_px, 3)
    clip.pixels_THWC = np.empty(shape, np.uint8)
    return clip


def _next_frame(waiting: Sequence[_OpenClip], filling: Sequence[_OpenClip]) -> int:
    """Return the earliest frame that a clip still lacks."""
    first = [clip.frames[0] for clip in filling] + [clip.frames[0] for clip in waiting[:1]]
    return min(first)


def _fill(
    filling: Sequence[_OpenClip], index: int, reader: FrameReader, converter: FrameConverter
) -> None:
    """Put a frame into all clips that want it next."""
    wanting = [clip for clip in filling if clip.frames[0] == index]
    made: dict[tuple[Geometry, Bucket], ClipPixels] = {}
    try:
        frame = reader.frame(index)
        for clip in wanting:
            key = (clip.request.geometry, clip.request.bucket)
            while clip.frames and clip.frames[0] == index:
                place = clip.request.bucket.num_frames - len(clip.frames)
                if key in made:
                    clip.pixels_THWC[place] = made[key]
                else:
                    made[key] = clip.pixels_THWC[place]
                    geometry = clip.request.geometry
                    write_frame(made[key], frame, geometry, converter, reader.pixel_aspect)
                clip.frames.pop(0)
    except MediaError as error:
        for clip in wanting:
            clip.failure = error


def write_frame(
    target_HWC: ClipPixels,
    frame: VideoFrame,
    geometry: Geometry,
    converter: FrameConverter,
    pixel_aspect: Fraction,
) -> None:
    """Write a frame, resized, cropped and mirrored as planned, as uint8 sRGB (H, W, 3).

    Raises:
        MediaError: It is not of the planned size, or HDR, which the transform refuses.
    """
    found = converter.upright_size(frame, pixel_aspect)
    planned = (geometry.source_width_px, geometry.source_height_px)
    if found != planned:
        raise MediaError(
            RejectCode.SIZE_MISMATCH.word,
            f"a frame is {found[0]}x{found[1]} px, but the plan says {planned[0]}x{planned[1]} "
            f"px; the size or the shape of its pixels changes within the video, or plan the corpus "
            f"again",
        )
    size = (geometry.resized_width_px, geometry.resized_height_px)
    corner = (geometry.crop_left_px, geometry.crop_top_px)
    converter.convert_into(target_HWC, frame, size, corner)
    if geometry.is_flipped:
        target_HWC[:] = target_HWC[:, ::-1].copy()
