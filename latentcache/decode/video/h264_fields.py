"""Field-coded H.264: two packets may be the two fields of one picture.

Broadcast (1080i) and AVCHD cameras write each field as an access unit of its own. A decoder
gives one frame for both, at the time of the first. Source: ITU-R H.264, 7.3.2.1.1 and 7.3.3.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from latentcache.decode.video.bits import BitReader, without_emulation

_SLICE, _IDR_SLICE, _PARAMETERS = 1, 5, 7
_HEAD_BYTES = 40
"""Of a slice; its header says all that is asked for in less."""
_WITH_CHROMA_FORMAT = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_START = b"\0\0\1"


@dataclass(frozen=True, slots=True)
class _Sequence:
    """What a sequence parameter set says of fields."""

    frame_num_bits: int
    has_fields: bool
    has_planes_apart: bool


class FieldPairs:
    """Tells which packets of an H.264 stream, in their order, begin a picture."""

    def __init__(self, extradata: bytes) -> None:
        """Prepare.

        Args:
            extradata: Of the stream: ``AVCDecoderConfigurationRecord``, or units with start codes.
        """
        has_lengths = len(extradata) >= 7 and extradata[0] == 1
        self._length_bytes = (extradata[4] & 3) + 1 if has_lengths else 0
        self._sequence: _Sequence | None = None
        self._waiting: tuple[bool, int] | None = None
        units = _configured(extradata) if has_lengths else _after_start_codes(extradata)
        for unit in units:
            self._note(unit)

    def __call__(self, packet: memoryview) -> int:
        """Return how many pictures begin in a packet: 0 if it is the second field of one."""
        if self._sequence is not None and not self._sequence.has_fields and self._length_bytes:
            return 1  # parameters do not change within such files
        data = bytes(packet)
        units = (
            _with_lengths(data, self._length_bytes)
            if self._length_bytes
            else _after_start_codes(data)
        )
        for unit in units:
            if unit and unit[0] & 31 in (_SLICE, _IDR_SLICE):
                return self._count(unit)
            self._note(unit)
        return 1

    def _note(self, unit: bytes) -> None:
        if unit and unit[0] & 31 == _PARAMETERS:
            self._sequence = _sequence_of(unit)

    def _count(self, unit: bytes) -> int:
        sequence = self._sequence
        if sequence is None or not sequence.has_fields:
            return 1
        bits = BitReader(without_emulation(unit[1:_HEAD_BYTES]))
        for _ in range(3):  # first macroblock, kind of slice, picture parameters
            bits.unsigned()
        if sequence.has_planes_apart:
            bits.read(2)
        frame_num = bits.read(sequence.frame_num_bits)
        if not bits.flag():
            self._waiting = None
            return 1
        is_bottom = bits.flag()
        if self._waiting == (not is_bottom, frame_num):
            self._waiting = None
            return 0
        self._waiting = (is_bottom, frame_num)
        return 1


def _sequence_of(unit: bytes) -> _Sequence | None:
    """Return what a parameter set says; None where it makes no sense."""
    bits = BitReader(without_emulation(unit[1:]))
    profile = bits.read(8)
    bits.read(16)
    bits.unsigned()
    has_planes_apart = False
    if profile in _WITH_CHROMA_FORMAT:
        chroma_format = bits.unsigned()
        has_planes_apart = chroma_format == 3 and bits.flag()
        bits.unsigned(), bits.unsigned(), bits.flag()
        if bits.flag():
            _skip_scaling(bits, 12 if chroma_format == 3 else 8)
    frame_num_bits = bits.unsigned() + 4
    order_kind = bits.unsigned()
    if order_kind == 0:
        bits.unsigned()
    elif order_kind == 1:
        bits.flag(), bits.signed(), bits.signed()
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()
    bits.unsigned(), bits.flag(), bits.unsigned(), bits.unsigned()
    has_fields = not bits.flag()
    if bits.is_past_end or frame_num_bits > 16:
        return None
    return _Sequence(frame_num_bits, has_fields, has_planes_apart)


def _skip_scaling(bits: BitReader, num_lists: int) -> None:
    for number in range(num_lists):
        if not bits.flag():
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                following = (last + bits.signed()) % 256
            last = following or last


def _configured(extradata: bytes) -> Iterator[bytes]:
    """Yield the sequence parameter sets of a configuration record."""
    at = 6
    for _ in range(extradata[5] & 31):
        size = int.from_bytes(extradata[at : at + 2], "big")
        yield extradata[at + 2 : at + 2 + size]
        at += 2 + size


def _with_lengths(data: bytes, length_bytes: int) -> Iterator[bytes]:
    at = 0
    while at + length_bytes < len(data):
        size = int.from_bytes(data[at : at + length_bytes], "big")
        at += length_bytes
        yield data[at : at + size]
        at += size


def _after_start_codes(data: bytes) -> Iterator[bytes]:
    at = data.find(_START)
    while at >= 0:
        following = data.find(_START, at + 3)
        yield data[at + 3 : following if following >= 0 else len(data)]
        at = following
