"""What a video holds: its first frame decoded, the times of all others read from packets."""

from dataclasses import dataclass
from typing import BinaryIO

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.clips.decoded_frames import FrameReader
from latentcache.decode.clips.video_pixels import FrameConverter
from latentcache.decode.pixel_options import ImageLimits, VideoTransform
from latentcache.decode.video.timeline import Timeline
from latentcache.decode.video.video_file import open_video


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoInfo:
    """One video as the plan needs it.

    Attributes:
        width_px: Of a frame, upright and with square pixels.
        height_px: Likewise.
        format: Container and codec, e.g. ``matroska/h264``.
        timeline: When each frame is shown.
    """

    width_px: int
    height_px: int
    format: str
    timeline: Timeline


def probe_video(file: BinaryIO, *, size_bytes: int, limits: ImageLimits) -> VideoInfo:
    """Return size, codec and timeline; decodes one frame and reads the rest undecoded.

    Args:
        file: Seekable.
        size_bytes: Of the whole file.
        limits: What is refused; pixels are counted per frame.

    Raises:
        MediaError: The file is no video we read, is cut short, or breaks a limit.
    """
    with open_video(file, size_bytes=size_bytes) as video:
        context = video.stream.codec_context
        if context.width * context.height > limits.max_pixels:
            raise MediaError(
                RejectCode.BOMB.word,
                f"a frame is {context.width}x{context.height} px, more than the limit of "
                f"{limits.max_pixels} pixels",
            )
        timeline = video.read_timeline()
        reader = FrameReader(video, timeline)
        frame = reader.frame(0)
        converter = FrameConverter(VideoTransform(), video.crop)
        width_px, height_px = converter.upright_size(frame, reader.pixel_aspect)
        container = video.container.format.name.partition(",")[0]
        return VideoInfo(
            width_px=width_px,
            height_px=height_px,
            format=f"{container}/{video.stream.codec_context.name}",
            timeline=timeline,
        )
