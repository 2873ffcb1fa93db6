"""How many pictures of a packet a decoder gives: most packets hold one, some none.

Hidden alternate references of VP8 and VP9 are only referred to; a "not coded" VOP of MPEG-4
repeats the picture before it, and "packed" AVIs put two VOPs in one packet and an empty one
behind it; of field-coded H.264 two packets make one picture. Codecs that are not named here
give one picture a packet.
"""

from collections.abc import Callable

from av.video.codeccontext import VideoCodecContext

from latentcache.decode.video.bits import BitReader
from latentcache.decode.video.h264_fields import FieldPairs

CountPictures = Callable[[memoryview], int]

_VOP, _LAYERS = b"\0\0\1\xb6", range(0x20, 0x30)
_HEAD_BYTES = 64


def picture_counter(context: VideoCodecContext) -> CountPictures:
    """Return what counts the pictures of a stream's packets, asked in the order of the file."""
    if context.name in ("vp8", "libvpx"):
        return _vp8_pictures
    if context.name in ("vp9", "libvpx-vp9"):
        return _vp9_pictures
    if context.name == "mpeg4":
        return _Mpeg4Pictures(context.extradata or b"")
    if context.name == "h264":
        return FieldPairs(context.extradata or b"")
    return lambda _: 1


def _vp8_pictures(packet: memoryview) -> int:
    """Source: RFC 6386, 9.1 (``show_frame``)."""
    return packet[0] >> 4 & 1


def _vp9_pictures(packet: memoryview) -> int:
    """Source: VP9 bitstream specification 0.6, annex B (superframes) and 7.2."""
    return int(any(_is_shown_vp9(part) for part in _vp9_frames(packet)))


def _vp9_frames(packet: memoryview) -> list[memoryview]:
    mark = packet[-1]
    count, width = (mark & 7) + 1, (mark >> 3 & 3) + 1
    start = len(packet) - 2 - count * width
    if mark >> 5 != 6 or start < 0 or packet[start] != mark:
        return [packet]
    frames, at = [], 0
    for number in range(count):
        place = start + 1 + number * width
        size = int.from_bytes(packet[place : place + width], "little")
        frames.append(packet[at : at + size])
        at += size
    return [each for each in frames if len(each)]


def _is_shown_vp9(frame: memoryview) -> bool:
    bits = BitReader(bytes(frame[:2]))
    bits.read(2)
    profile = bits.read(1) | bits.read(1) << 1
    if profile == 3:
        bits.read(1)
    shows_existing = bits.flag()
    bits.read(1)
    return shows_existing or bits.flag()


class _Mpeg4Pictures:
    """Counts the coded VOPs of MPEG-4 packets; source: ISO/IEC 14496-2, 6.2.3 and 6.2.5."""

    def __init__(self, extradata: bytes) -> None:
        self._time_bits = 0
        self._note_layer(extradata)

    def __call__(self, packet: memoryview) -> int:
        data = bytes(packet)
        self._note_layer(data[:512])
        count, at = 0, data.find(_VOP)
        if at < 0:
            return 1  # a short header (H.263), or what only the decoder knows
        while at >= 0:
            count += self._is_coded(data[at + 4 : at + 4 + _HEAD_BYTES])
            at = data.find(_VOP, at + 4)
        return count

    def _is_coded(self, head: bytes) -> bool:
        if not self._time_bits:
            return True
        bits = BitReader(head)
        bits.read(2)
        while bits.flag():  # whole seconds
            pass
        bits.read(1)
        bits.read(self._time_bits)
        bits.read(1)
        return bits.flag() or bits.is_past_end

    def _note_layer(self, data: bytes) -> None:
        at = data.find(b"\0\0\1")
        while 0 <= at < len(data) - 8:
            if data[at + 3] in _LAYERS:
                self._time_bits = _time_bits(data[at + 4 : at + 4 + _HEAD_BYTES])
                return
            at = data.find(b"\0\0\1", at + 3)


def _time_bits(layer: bytes) -> int:
    """Return the width of ``vop_time_increment`` that a video object layer tells."""
    bits = BitReader(layer)
    bits.read(9)
    version = 1
    if bits.flag():
        version = bits.read(4)
        bits.read(3)
    if bits.read(4) == 15:
        bits.read(16)
    if bits.flag():
        bits.read(3)
        if bits.flag():
            bits.read(79)
    if bits.read(2) == 3 and version != 1:
        bits.read(4)
    bits.read(1)
    return max(1, (bits.read(16) - 1).bit_length())
