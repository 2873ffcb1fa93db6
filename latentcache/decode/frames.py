"""Exactly the frames asked for, decoded in one pass: seek to a key frame, count from there.

Frame ``i`` is what a decoder that starts at the beginning gives as its ``i``-th. Seeking
alone does not find it: a file's index may lead past it (it lists times of decoding, not of
showing), the first frames after a seek may lack what they refer to, and what a file calls a
key frame may need earlier ones after all (H.264 with open groups of pictures; 3GP files with
a wrong index). So a frame is known by its time, and decoding starts only from a frame that
the decoder itself calls a whole key frame.
"""

from collections.abc import Iterator

import numpy as np
from av import Packet
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.timeline import Timeline
from latentcache.decode.unused import find_unused_rule
from latentcache.decode.video_file import VideoFile

_SEEK_GAIN_FRAMES = 8
"""A seek throws away what the decoder holds; going on over fewer frames is cheaper."""


class FrameReader:
    """Decodes chosen frames of one video, forwards."""

    def __init__(self, video: VideoFile, timeline: Timeline) -> None:
        """Prepare.

        Args:
            video: Opened.
            timeline: Read from it.
        """
        self._video, self._timeline = video, timeline
        self._numbered: Iterator[tuple[int, VideoFrame]] | None = None
        self._next = self._wanted = 0
        self._is_damaged = False
        self._is_unused = find_unused_rule(video.stream.codec_context)
        self._false_keys: set[int] = set()

    def frame(self, index: int) -> VideoFrame:
        """Return one frame; cheap if it is a little behind the last one.

        Raises:
            MediaError: It is missing, or it or one that it may refer to is damaged.
        """
        self._wanted = index
        try:
            found = self._start_near(index)
            if found is None or self._next - 1 != index:
                found = self._advance_to(index)
        except FFmpegError as error:
            self._numbered = None
            reason = "frames that are needed cannot be decoded; copy or download the file again"
            raise MediaError(RejectCode.CORRUPT.word, reason) from error
        if self._is_damaged:
            raise MediaError(
                RejectCode.CORRUPT.word,
                "frames that are needed, or ones they refer to, are damaged; "
                "copy or download the file again",
            )
        return found

    def _start_near(self, index: int) -> VideoFrame | None:
        """Seek if that helps, and return the key frame stood at then."""
        # Damage may live on in what follows: only a whole key frame ends it.
        is_behind = self._numbered is None or index < self._next or self._is_damaged
        key = self._key_before(index)
        if not is_behind and key < self._next + _SEEK_GAIN_FRAMES:
            return None
        while key > 0:
            frame = self._seek(key)
            if frame is not None:
                return frame
            self._false_keys.add(key)
            key = self._key_before(key)
        self._restart()
        return None

    def _key_before(self, index: int) -> int:
        if not self._timeline.has_times:
            return 0
        key = self._timeline.key_before(index)
        while key in self._false_keys:
            key = self._timeline.key_before(key - 1) if key else 0
        return key

    def _seek(self, key: int) -> VideoFrame | None:
        """Return a key frame, stood at; None if decoding cannot start there."""
        tick = int(self._timeline.ticks[key])
        self._video.container.seek(tick, stream=self._video.stream)
        self._numbered = self._decode()
        for number, frame in self._numbered:
            if number >= key:
                self._next, self._is_damaged = number + 1, False
                is_whole = frame.key_frame and not frame.is_corrupt
                return frame if number == key and is_whole else None
        return None

    def _restart(self) -> None:
        self._video.restart()
        self._numbered, self._next, self._is_damaged = self._decode(), 0, False

    def _decode(self) -> Iterator[tuple[int, VideoFrame]]:
        """Yield frames with their numbers, from where the container stands."""
        count = 0
        for packet in self._video.container.demux(self._video.stream):
            if self._may_drop(packet):
                continue
            for frame in packet.decode():
                number = self._number(frame) if self._timeline.has_times else count
                count += 1
                if number is not None:
                    yield number, frame

    def _may_drop(self, packet: "Packet[VideoStream]") -> bool:
        """Return whether nobody wants a packet's frame, nor any that refers to it."""
        if self._is_unused is None or not self._timeline.has_times:
            return False
        is_before = packet.pts is not None and packet.pts < self._timeline.ticks[self._wanted]
        return bool(is_before) and self._is_unused(memoryview(packet))

    def _number(self, frame: VideoFrame) -> int | None:
        """Return which frame it is, from its time; None if the timeline has no such time."""
        if frame.pts is None:
            return None
        at = int(np.searchsorted(self._timeline.ticks, frame.pts))
        is_known = at < self._timeline.num_frames and int(self._timeline.ticks[at]) == frame.pts
        return at if is_known else None

    def _advance_to(self, index: int) -> VideoFrame:
        assert self._numbered is not None, "started before"
        for number, frame in self._numbered:
            self._is_damaged |= bool(frame.is_corrupt)
            self._next = number + 1
            if number == index:
                return frame
            if number > index:
                break
        raise MediaError(
            RejectCode.TRUNCATED.word,
            f"frame {index} of {self._timeline.num_frames} cannot be decoded; "
            f"copy or download the file again",
        )
