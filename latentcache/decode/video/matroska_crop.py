"""The part of a Matroska track's frames that its header says to show.

FFmpeg reads it and leaves it to the player. Source: RFC 9559, 5.1.4.1.28.8 (``PixelCropBottom``)
and the three after it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT, _TRACKS, _ENTRY, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_KIND, _KIND_VIDEO = 0x83, 1
_SIDES = {0x54CC: "left", 0x54BB: "top", 0x54DD: "right", 0x54AA: "bottom"}
_MAX_TRACKS_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Crop:
    """Stored pixels that are not shown, at each side."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def size_px(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) of what is shown of a frame."""
        return width - self.left - self.right, height - self.top - self.bottom


def read_crop(file: BinaryIO, size_bytes: int, *, track: int) -> Crop:
    """Return what a Matroska file says of a track; nothing is cut where it says nothing.

    Args:
        file: Seekable.
        size_bytes: Of the whole file.
        track: Which of its video tracks, from 0.
    """
    file.seek(0)
    if file.read(4) != _EBML:
        return Crop()
    for kind, start, end in _elements(file, 0, size_bytes):
        if kind == _SEGMENT:
            return _crop_in_segment(file, start, end, track)
    return Crop()


def _crop_in_segment(file: BinaryIO, start: int, end: int, track: int) -> Crop:
    crops: list[Crop] = []
    # Usually before the pictures; an editor that needs room moves it behind them.
    for kind, begin, stop in _elements(file, start, end):
        if kind == _TRACKS and stop - begin <= _MAX_TRACKS_BYTES:
            entries = [each for each in _elements(file, begin, stop) if each[0] == _ENTRY]
            found = [_crop_of(file, first, last) for _, first, last in entries]
            crops = [each for each in found if each is not None]
            break
    return crops[track] if track < len(crops) else Crop()


def _crop_of(file: BinaryIO, start: int, end: int) -> Crop | None:
    """Return what is not shown of a track; None if it is none of pictures."""
    is_video, sides = False, {}
    for kind, begin, stop in _elements(file, start, end):
        if kind == _KIND:
            is_video = _value(file, begin, stop) == _KIND_VIDEO
        elif kind == _VIDEO:
            for inner, inner_begin, inner_stop in _elements(file, begin, stop):
                if inner in _SIDES:
                    sides[_SIDES[inner]] = _value(file, inner_begin, inner_stop)
    return Crop(**sides) if is_video else None


def _value(file: BinaryIO, start: int, end: int) -> int:
    file.seek(start)
    return int.from_bytes(file.read(min(end - start, 8)), "big")


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield kind, begin and end of the content of the elements within another."""
    while start < end:
        file.seek(start)
        head = file.read(12)
        if not head or not head[0]:
            return
        width = 9 - head[0].bit_length()
        kind = int.from_bytes(head[:width], "big")
        if width > 4 or width >= len(head) or not head[width]:
            return
        size_width = 9 - head[width].bit_length()
        size = int.from_bytes(head[width : width + size_width], "big")
        size &= (1 << 7 * size_width) - 1
        begin = start + width + size_width
        is_unknown = size == (1 << 7 * size_width) - 1
        stop = end if is_unknown else min(begin + size, end)
        yield kind, begin, stop
        start = stop
