"""Exactly the frames asked for, decoded in one pass: seek to a key frame, go on from there.

Seeking alone does not find a frame: a file's index may lead past it (it lists times of decoding,
not of showing), the first frames after a seek may lack what they refer to, and what a file
calls a key frame may need earlier ones after all (H.264 with open groups of pictures; 3GP
files with a wrong index). So a picture is known by what the decoder says of it (``Naming``), and
decoding starts only from one that the decoder itself calls a whole key frame.
"""

from collections.abc import Iterator
from fractions import Fraction

from av import Packet
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.video.pixel_aspect import PixelAspects
from latentcache.decode.video.timeline import Naming, Timeline
from latentcache.decode.video.unused import find_unused_rule
from latentcache.decode.video.video_file import VideoFile

_SEEK_GAIN_FRAMES = 8
"""A seek throws away what the decoder holds; going on over fewer frames is cheaper."""


class FrameReader:
    """Decodes chosen frames of one video, forwards.

    Attributes:
        pixel_aspect: Width over height of a pixel of the frame that was returned last.
    """

    def __init__(self, video: VideoFile, timeline: Timeline) -> None:
        """Prepare.

        Args:
            video: Opened.
            timeline: Read from it.
        """
        self._video, self._timeline, self._pictures = video, timeline, timeline.pictures
        self._numbered: Iterator[tuple[int, VideoFrame]] | None = None
        self._next = self._wanted = 0
        self._is_damaged = False
        self._is_unused = find_unused_rule(video.decoder)
        self._false_keys: set[int] = set()
        is_by_packet = self._pictures.naming is Naming.PACKET
        packets = self._pictures.packets.tolist() if is_by_packet else []
        self._by_packet = {packet: number for number, packet in enumerate(packets)}
        self._aspects = PixelAspects(video)
        self.pixel_aspect = Fraction(1)

    def frame(self, index: int) -> VideoFrame:
        """Return one frame; cheap if it is a little behind the last one.

        Raises:
            MediaError: It is missing, or it or one that it may refer to is damaged.
        """
        picture = int(self._timeline.shown[index])
        self._wanted = picture
        try:
            found = self._start_near(picture)
            if found is None or self._next - 1 != picture:
                found = self._advance_to(picture)
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
        self.pixel_aspect = self._aspects.of(self._video.packet_of(found))
        return found

    def _start_near(self, picture: int) -> VideoFrame | None:
        """Seek if that helps, and return the key frame stood at then."""
        # Damage may live on in what follows: only a whole key frame ends it.
        is_behind = self._numbered is None or picture < self._next or self._is_damaged
        key = self._key_before(picture)
        if not is_behind and key < self._next + _SEEK_GAIN_FRAMES:
            return None
        while key > self._pictures.first:
            frame = self._seek(key)
            if frame is not None:
                return frame
            self._false_keys.add(key)
            key = self._key_before(key)
        self._restart()
        return None

    def _key_before(self, picture: int) -> int:
        if self._pictures.naming is not Naming.TIME:
            return 0
        key = self._pictures.key_before(picture)
        while key in self._false_keys:
            key = self._pictures.key_before(key - 1) if key else 0
        return key

    def _seek(self, key: int) -> VideoFrame | None:
        """Return a key frame, stood at; None if decoding cannot start there."""
        self._video.seek(int(self._pictures.names[key]))
        self._numbered = self._decode(first_packet=0)
        try:
            for number, frame in self._numbered:
                if number >= key:
                    self._next, self._is_damaged = number + 1, False
                    is_whole = frame.key_frame and not frame.is_corrupt
                    return frame if number == key and is_whole else None
        except FFmpegError:
            return None  # what lies before it, in the middle of a group
        return None

    def _restart(self) -> None:
        self._video.restart()
        # What comes before a key frame is no use to the decoder; a stream that is renewed bit by
        # bit has none.
        first = self._pictures.first
        is_at_key = first > 0 and self._pictures.key_before(first) == first
        first_packet = int(self._pictures.packets[first]) if is_at_key else 0
        self._numbered = self._decode(first_packet=first_packet)
        self._next, self._is_damaged = first, False

    def _decode(self, *, first_packet: int) -> Iterator[tuple[int, VideoFrame]]:
        """Yield pictures with their numbers, from where the container stands."""
        count = self._pictures.first
        self._aspects.clear()
        for number, packet in enumerate(self._video.packets()):
            if packet is not None and (number < first_packet or self._may_drop(packet)):
                continue
            frames = self._video.decode(packet, number)
            self._aspects.note(number)
            for frame in frames:
                picture = count if self._pictures.naming is Naming.COUNT else self._number(frame)
                count += 1
                if picture is not None:
                    yield picture, frame

    def _may_drop(self, packet: "Packet[VideoStream]") -> bool:
        """Return whether nobody wants a packet's frame, nor any that refers to it."""
        if self._is_unused is None or self._pictures.naming is not Naming.TIME:
            return False
        is_before = packet.pts is not None and packet.pts < self._pictures.names[self._wanted]
        return bool(is_before) and self._is_unused(memoryview(packet))

    def _number(self, frame: VideoFrame) -> int | None:
        """Return which picture a frame is; None if the track has no such one."""
        if self._pictures.naming is Naming.TIME:
            return None if frame.pts is None else self._pictures.at_tick(frame.pts)
        packet = self._video.packet_of(frame)
        return None if packet is None else self._by_packet.get(packet)

    def _advance_to(self, picture: int) -> VideoFrame:
        assert self._numbered is not None, "started before"
        for number, frame in self._numbered:
            self._is_damaged |= bool(frame.is_corrupt) and number >= self._pictures.first
            self._next = number + 1
            if number == picture:
                return frame
            if number > picture:
                break
        raise MediaError(
            RejectCode.CORRUPT.word,
            f"frame {picture} of {len(self._pictures.names)} gives no picture: the data there are "
            f"damaged, or refer to what is not in the file",
        )
