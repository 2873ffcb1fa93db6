"""The part of an ISO media track's frames that its ``clap`` box says to show.

Cameras and editors that write QuickTime files mark so what lies beyond the picture's edges.
FFmpeg's tools cut it off, its libraries leave it to who calls them. Source: ISO/IEC 14496-12,
12.1.4.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

from latentcache.decode.video.edit_list import header_number, inner_boxes
from latentcache.decode.video.matroska_crop import Crop
from latentcache.decode.video.video_size import outer_boxes

_PATH = (b"mdia", b"minf", b"stbl", b"stsd")
_STSD_HEAD_BYTES, _ENTRY_BYTES = 8, 78
_SIZE_AT = 24
"""Of width and height, 16 bits each, in the content of a visual sample entry."""


def read_clean_aperture(
    file: BinaryIO, size_bytes: int, *, track: int, size_px: tuple[int, int]
) -> Crop:
    """Return what an ISO media file says of a track; nothing is cut where it says nothing.

    An aperture that makes no sense, or is of frames of another size, counts as none.

    Args:
        file: Seekable.
        size_bytes: Of the whole file.
        track: Its number in the file.
        size_px: Width and height of decoded frames.
    """
    start = 0
    for kind, end in outer_boxes(file, size_bytes):
        if kind == b"moov":
            for begin, stop in _entries(file, start + 8, min(end, size_bytes), track):
                return _crop_of(file, begin, stop, size_px)
        start = end
    return Crop()


def _entries(file: BinaryIO, start: int, end: int, track: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the content of the track's sample entries."""
    for kind, begin, stop in inner_boxes(file, start, end):
        if kind != b"trak" or _number(file, begin, stop) != track:
            continue
        for name in _PATH:
            places = [each[1:] for each in inner_boxes(file, begin, stop) if each[0] == name]
            if not places:
                return
            begin, stop = places[0]  # noqa: PLW2901  one step down
        for _, entry, entry_stop in inner_boxes(file, begin + _STSD_HEAD_BYTES, stop):
            yield entry, entry_stop


def _number(file: BinaryIO, start: int, end: int) -> int:
    for kind, begin, _ in inner_boxes(file, start, end):
        if kind == b"tkhd":
            return header_number(file, begin, at_v0=12, at_v1=20)
    return 0


def _crop_of(file: BinaryIO, start: int, end: int, size_px: tuple[int, int]) -> Crop:
    file.seek(start + _SIZE_AT)
    head = file.read(4)
    described = int.from_bytes(head[:2], "big"), int.from_bytes(head[2:], "big")
    if described != size_px:
        return Crop()
    for kind, begin, stop in inner_boxes(file, start + _ENTRY_BYTES, end):
        if kind == b"clap" and stop - begin >= 32:
            file.seek(begin)
            return _crop(file.read(32), size_px)
    return Crop()


def _crop(content: bytes, size_px: tuple[int, int]) -> Crop:
    values = [int.from_bytes(content[at : at + 4], "big", signed=True) for at in range(0, 32, 4)]
    tops, bottoms = values[::2], values[1::2]
    if not all(bottoms):
        return Crop()
    width, height, right, down = (
        Fraction(top, bottom) for top, bottom in zip(tops, bottoms, strict=True)
    )
    left, right_edge = _side(size_px[0], width, right)
    upper, lower = _side(size_px[1], height, down)
    sides = (left, upper, right_edge, lower)
    is_sound = min(sides) >= 0 and left + right_edge < size_px[0] and upper + lower < size_px[1]
    return Crop(*sides) if is_sound else Crop()


def _side(edge_px: int, shown: Fraction, offset: Fraction) -> tuple[int, int]:
    """Return pixels cut off before and behind: the offset is from centre to centre."""
    before = round((edge_px - shown) / 2 + offset)
    return before, edge_px - before - round(shown)
