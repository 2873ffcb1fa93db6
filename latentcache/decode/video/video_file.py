"""Opening a video under our rules: few formats, no other files or addresses, one thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import BinaryIO, NamedTuple, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.video.clean_aperture import read_clean_aperture
from latentcache.decode.video.edit_list import Edit, read_edits
from latentcache.decode.video.first_picture import NumberedFrames, from_first_whole
from latentcache.decode.video.matroska_crop import Crop, read_crop
from latentcache.decode.video.shown_pictures import picture_counter
from latentcache.decode.video.timeline import (
    ClockFacts,
    PacketFacts,
    Timeline,
    timeline_of,
    track_of,
)
from latentcache.decode.video.video_reasons import video_error
from latentcache.decode.video.video_size import declared_end

FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,dv,h264,hevc,m4v,mjpeg,ivf,gif"
)
"""All that is tried. FFmpeg knows three hundred more: some are text that names other files or
addresses (playlists, concatenations, image sequences), and none of them is one video."""

_OPTIONS = {
    "format_whitelist": FORMATS,
    "protocol_whitelist": "pipe",
    "ignore_editlist": "1",  # decode.edit_list reads it
}
_TIMES_OF_DECODING = frozenset({"avi", "h264", "hevc", "m4v", "ivf"})
_MOV = "mov,mp4,m4a,3gp,3g2,mj2"
_BROADCAST = frozenset({"mpegts", "mpeg"})
"""Captures of these are joined byte by byte, and their clocks leap."""
_BROADCAST_MARGIN_S = 1
_ASPECT_IN_FRAMES = _BROADCAST | {"mpegvideo", "h264", "hevc", "m4v"}
_REWINDABLE = frozenset({_MOV, "matroska,webm", "avi"})
"""Their index or first cluster leads back to the first packet exactly."""
_USUAL_RATE = Fraction(25)
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these leave the alpha that Matroska keeps beside each picture."""
_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


_WIDEST = 8
"""A pixel of a wider or taller shape is not believed: the header is wrong."""


def plausible_aspect(told: Fraction | None) -> Fraction:
    """Return width over height of a pixel; square where nothing sensible is told."""
    aspect = told or Fraction(1)
    return aspect if Fraction(1, _WIDEST) <= aspect <= _WIDEST else Fraction(1)


class _PacketMark(NamedTuple):
    number: int


class VideoFile:
    """An opened video.

    Attributes:
        container: Of PyAV; closed when the block ends.
        stream: Its default video track, else the largest; no cover picture, no preview.
        decoder: Of the track.
    """

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        """Open it.

        Args:
            file: Seekable.
            size_bytes: Of the whole file.
        """
        self._file, self._size_bytes = file, size_bytes
        self.container, self.stream = _open(file)
        self.decoder = _decoder_of(self.stream)

    def restart(self) -> None:
        """Go back to the file's first packet."""
        if self.container.format.name in _REWINDABLE:
            self.container.seek(min(0, self.container.start_time or 0), backward=True)
            self.decoder.flush_buffers()
            return
        # Others find their way by guessing at bytes, or not at all.
        self.container.close()
        self.container, self.stream = _open(self._file)
        self.decoder = _decoder_of(self.stream)

    def seek(self, tick: int) -> None:
        """Go to a key frame at or before a time of the track."""
        if self.container.format.name in _BROADCAST and self.stream.time_base:
            # Found by times of decoding, and any packet will do: it may lie behind the key frame.
            tick -= round(_BROADCAST_MARGIN_S / self.stream.time_base)
        self.container.seek(tick, stream=self.stream)
        self.decoder.flush_buffers()

    def packets(self) -> "Iterator[Packet[VideoStream] | None]":
        """Yield the track's packets from here on, and None at the end."""
        for packet in self.container.demux(self.stream):
            if packet.size:  # an empty one repeats a picture
                yield packet
        yield None

    def decode(self, packet: "Packet[VideoStream] | None", number: int) -> list[VideoFrame]:
        """Return the frames that a decoder gives next; ``packet_of`` tells whose each is.

        Args:
            packet: None asks for what the decoder still holds.
            number: By which its frame will know it.
        """
        if packet is not None:
            # An object of its own: PyAV 18.1 finds it by its address, and forgets one that two
            # packets share with the first of them. Small numbers are shared.
            packet.opaque = _PacketMark(number)
        return self.decoder.decode(packet)

    @staticmethod
    def packet_of(frame: VideoFrame) -> int | None:
        """Return the number of the packet that a frame's data begin in."""
        mark = frame.opaque
        return mark.number if isinstance(mark, _PacketMark) else None

    def _decoded(self) -> NumberedFrames:
        """Yield frames from the start, with their packets; what cannot be decoded is passed over.

        Where the file stands then means nothing.
        """
        self.restart()
        for number, packet in enumerate(self.packets()):
            try:
                frames = self.decode(packet, number)
            except FFmpegError:
                continue  # for instance parameters that came before the cut
            yield from ((self.packet_of(frame), frame) for frame in frames)

    @property
    def pixel_aspect(self) -> Fraction:
        """Width over height of a stored pixel, as the container or the first frame says."""
        return plausible_aspect(self.stream.sample_aspect_ratio)

    @property
    def has_own_aspect(self) -> bool:
        """Whether the container says the aspect, which then holds for all frames."""
        return self.container.format.name not in _ASPECT_IN_FRAMES

    def read_timeline(self) -> Timeline:
        """Return when each frame is shown; reads the whole file, decodes a few frames at most.

        A ``FrameReader`` goes back to where it needs to be.

        Raises:
            MediaError: It has no frame, or fewer than its header says.
        """
        count = picture_counter(self.decoder)
        found = [
            PacketFacts(packet.pts, packet.is_keyframe, count(memoryview(packet)), packet.dts)
            for packet in self.packets()
            if packet is not None
        ]
        self._check_count(len(found), sum(each.num_pictures for each in found))
        name = self.container.format.name
        assert self.stream.time_base is not None, "every stream that was opened has one"
        clock = ClockFacts(
            tick_s=self.stream.time_base,
            frame_rate=self.stream.guessed_rate or self.stream.average_rate or _USUAL_RATE,
            is_reordered=name in _TIMES_OF_DECODING,
            is_broadcast=name in _BROADCAST,
        )
        track = from_first_whole(track_of(found, clock), self._decoded)
        timeline = timeline_of(track, self._edits())
        if not timeline.num_frames:
            raise MediaError(
                RejectCode.CORRUPT.word,
                "the file's edit list shows none of its frames; export the video again",
            )
        return timeline

    def _check_count(self, num_packets: int, num_pictures: int) -> None:
        if not num_pictures:
            raise MediaError(
                RejectCode.TRUNCATED.word,
                "the video has no frame: it is a header without its data; copy it again, or join "
                "it to its segments",
            )
        # Others' headers count frames that repeat the one before and have no packet.
        is_counted = self.container.format.name == _MOV
        if is_counted and self.stream.frames > num_packets:
            raise MediaError(
                RejectCode.TRUNCATED.word,
                f"the video has {num_packets} frames where its header says {self.stream.frames}; "
                f"copy or download it again",
            )

    @property
    def crop(self) -> Crop:
        """What of the track's frames is not shown."""
        tracks = [each.index for each in self.container.streams.video]
        size_px = (self.decoder.width, self.decoder.height)
        with _place_kept(self._file):
            if self.container.format.name == _MOV:
                crop = read_clean_aperture(
                    self._file, self._size_bytes, track=self.stream.id, size_px=size_px
                )
            else:
                place = tracks.index(self.stream.index)
                crop = read_crop(self._file, self._size_bytes, track=place)
        left_px = min(crop.size_px(*size_px))
        return crop if left_px > 0 else Crop()

    def _edits(self) -> list[Edit]:
        if self.container.format.name != _MOV:
            return []
        assert self.stream.time_base is not None, "every stream that was opened has one"
        ticks_per_s = float(1 / self.stream.time_base)
        with _place_kept(self._file):
            return read_edits(
                self._file, self._size_bytes, track=self.stream.id, ticks_per_s=ticks_per_s
            )


@contextmanager
def _place_kept(file: BinaryIO) -> Iterator[None]:
    """Leave a file where FFmpeg believes it to be."""
    place = file.tell()
    try:
        yield
    finally:
        file.seek(place)


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
        video = VideoFile(file, size_bytes)
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
    return max(tracks, key=_standing)  # the first of equals


def _standing(stream: VideoStream) -> tuple[bool, int]:
    context = stream.codec_context
    return bool(stream.disposition & Disposition.default), context.width * context.height


def _decoder_of(stream: VideoStream) -> VideoCodecContext:
    """Return the track's decoder: the one that keeps alpha where the file has some."""
    decoder = stream.codec_context
    with_alpha = _ALPHA_DECODERS.get(decoder.name)
    told = {name.lower(): value for name, value in stream.metadata.items()}
    if with_alpha and told.get("alpha_mode") == "1":
        plain = decoder
        decoder = cast(VideoCodecContext, VideoCodecContext.create(with_alpha, "r"))
        decoder.extradata = plain.extradata
        decoder.width, decoder.height = plain.width, plain.height
    # There is one decode worker per core already; and threads of FFmpeg outlive an exception
    # that leaves the decoder in the middle.
    decoder.thread_type = "NONE"
    decoder.thread_count = 1
    decoder.copy_opaque = True
    return decoder
