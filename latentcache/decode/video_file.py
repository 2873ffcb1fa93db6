"""Opening a video under our rules: few formats, no other files or addresses, one thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.timeline import PacketFacts, Timeline, timeline_of
from latentcache.decode.video_reasons import video_error
from latentcache.decode.video_size import declared_end

FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,dv,h264,hevc,m4v,mjpeg,ivf,gif"
)
"""All that is tried. FFmpeg knows three hundred more: some are text that names other files or
addresses (playlists, concatenations, image sequences), and none of them is one video."""

_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "pipe"}
_TIMES_OF_DECODING = frozenset({"avi", "h264", "hevc", "m4v", "ivf"})
_MOV = "mov,mp4,m4a,3gp,3g2,mj2"
_COUNTED = frozenset({_MOV})
_REWINDABLE = frozenset({_MOV, "matroska,webm", "avi"})
"""Their index or first cluster leads back to the first packet exactly."""
_USUAL_RATE = Fraction(25)
_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


class VideoFile:
    """An opened video.

    Attributes:
        container: Of PyAV; closed when the block ends.
        stream: Its default video track, else the largest; no cover picture, no preview.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Open it.

        Args:
            file: Seekable.
        """
        self._file = file
        self.container, self.stream = _open(file)

    def restart(self) -> None:
        """Go back to the file's first packet."""
        if self.container.format.name in _REWINDABLE:
            self.container.seek(min(0, self.container.start_time or 0), backward=True)
            return
        # Others find their way by guessing at bytes, or not at all.
        self.container.close()
        self.container, self.stream = _open(self._file)

    @property
    def pixel_aspect(self) -> Fraction:
        """Width over height of a stored pixel."""
        told = self.stream.sample_aspect_ratio or Fraction(1)
        return told if Fraction(1, 8) <= told <= 8 else Fraction(1)

    def read_timeline(self) -> Timeline:
        """Return when each frame is shown; reads the whole file, decodes nothing.

        Call ``restart`` to decode afterwards.

        Raises:
            MediaError: It has no frame, or fewer than its header says.
        """
        shown, num_hidden = [], 0
        for packet in self.container.demux(self.stream):
            if not packet.size:  # the end
                continue
            if packet.is_discard:
                num_hidden += 1
            else:
                shown.append(PacketFacts(packet.pts, packet.is_keyframe))
        if not shown:
            raise MediaError(
                RejectCode.TRUNCATED.word,
                "the video has no frame: it is a header without its data; copy it again, or join "
                "it to its segments",
            )
        # Others' headers count frames that repeat the one before and have no packet.
        is_counted = self.container.format.name in _COUNTED
        if is_counted and self.stream.frames > len(shown) + num_hidden:
            raise MediaError(
                RejectCode.TRUNCATED.word,
                f"the video has {len(shown)} frames where its header says {self.stream.frames}; "
                f"copy or download it again",
            )
        assert self.stream.time_base is not None, "every stream that was opened has one"
        return timeline_of(
            shown,
            tick_s=self.stream.time_base,
            frame_rate=self.stream.guessed_rate or self.stream.average_rate or _USUAL_RATE,
            is_reordered=self.container.format.name in _TIMES_OF_DECODING,
        )


@contextmanager
def open_video(file: BinaryIO, *, size_bytes: int) -> Iterator[VideoFile]:
    """Yield the opened video; what the block does to it may fail as bad media does.

    Args:
        file: Seekable; read from its start.
        size_bytes: Of the whole file.

    Raises:
        MediaError: The file is no video we read, is cut short, or its data are damaged.
    """
    if not size_bytes:
        raise MediaError(RejectCode.EMPTY.word, "the file is empty (0 bytes)")
    end = declared_end(file, size_bytes)
    if end > size_bytes:
        raise MediaError(
            RejectCode.TRUNCATED.word,
            f"the video file ends after {size_bytes} of {end} bytes; copy or download it again",
        )
    try:
        video = VideoFile(file)
        try:
            yield video
        finally:
            video.container.close()
    except FFmpegError as error:
        raise video_error(error, file, size_bytes=size_bytes) from error


def _open(file: BinaryIO) -> tuple[InputContainer, VideoStream]:
    file.seek(0)
    container = av.open(file, "r", options=dict(_OPTIONS))
    try:
        return container, _video_stream(container)
    except BaseException:
        container.close()
        raise


def _video_stream(container: InputContainer) -> VideoStream:
    """Return the track that players show: the default one, of several the largest."""
    tracks = [each for each in container.streams.video if not each.disposition & _NO_FILM]
    if not tracks:
        what = "sound only" if container.streams.audio else "neither pictures nor sound"
        raise MediaError(RejectCode.NOT_MEDIA.word, f"the file has no video stream ({what})")
    stream = max(tracks, key=_standing)  # the first of equals
    # There is one decode worker per core already; and threads of FFmpeg outlive an exception
    # that leaves the decoder in the middle.
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return stream


def _standing(stream: VideoStream) -> tuple[bool, int]:
    context = stream.codec_context
    return bool(stream.disposition & Disposition.default), context.width * context.height
