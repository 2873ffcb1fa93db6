"""The part of an ISO media file (mp4, mov) that its edit list shows.

"Trim" on a phone and cutting with stream copy leave the pictures and change this list.
FFmpeg's own reading of it drops pictures by its own rounding and hides how many there are;
so the list is read here, and a picture that a part's ends cut in two belongs to the part that
shows more than half of it. Source: ISO/IEC 14496-12, 8.6.5 and 8.6.6.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from latentcache.decode.video.clock import Ticks
from latentcache.decode.video.video_size import outer_boxes

_MAX_EDITS = 10_000


@dataclass(frozen=True, slots=True)
class Edit:
    """One part that is shown.

    Attributes:
        start: Of the part, in ticks of the track; -1 shows nothing.
        length: In ticks of the track; 0 goes on to the end.
        rate: Seconds of the track per second shown; 0 counts as 1.
    """

    start: int
    length: int
    rate: float = 1.0


def read_edits(file: BinaryIO, size_bytes: int, *, track: int, ticks_per_s: float) -> list[Edit]:
    """Return a track's edits in order; none where the whole track is shown.

    Args:
        file: Seekable.
        size_bytes: Of the whole file.
        track: Its number in the file.
        ticks_per_s: Of the track.
    """
    start = 0
    for kind, end in outer_boxes(file, size_bytes):
        if kind == b"moov":
            return _edits_of(file, start, min(end, size_bytes), track, ticks_per_s)
        start = end
    return []


def visible(ticks: Ticks, edits: Sequence[Edit]) -> tuple[Ticks, Ticks]:
    """Return when frames are shown, ascending, and which picture each shows.

    Args:
        ticks: Of the track's pictures, ascending.
        edits: As listed; all is shown where there are none.
    """
    if not edits:
        return ticks, np.arange(len(ticks), dtype=np.int64)
    times, pictures = [ticks[:0]], [ticks[:0]]
    base = 0
    for edit in edits:
        rate = edit.rate or 1.0
        if edit.start >= 0:
            first, early = _first(ticks, edit.start)
            last = _last(ticks, edit.start + edit.length * rate) if edit.length else len(ticks)
            shown = np.maximum(ticks[first:last] - edit.start, -early)
            times.append(base + (shown / rate).astype(np.int64))
            pictures.append(np.arange(first, last, dtype=np.int64)[: len(shown)])
        base += edit.length
    return np.maximum.accumulate(np.concatenate(times)), np.concatenate(pictures)


def _first(ticks: Ticks, start: int) -> tuple[int, int]:
    """Return the first picture of a part, and how long before the part it may be shown.

    A picture that is cut into by less than half of its time is at its own time still.
    """
    at = max(0, int(np.searchsorted(ticks, start, side="right")) - 1)
    half = _half(ticks, at)
    if at + 1 < len(ticks) and ticks[at + 1] - start < half:
        return at + 1, 0
    return at, int(half) if start - ticks[at] <= half else 0


def _last(ticks: Ticks, end: float) -> int:
    """Return the picture behind a part: one that is shown for half of its time is in no part."""
    behind = int(np.searchsorted(ticks, end, side="left"))
    is_cut = 0 < behind < len(ticks) and end - ticks[behind - 1] <= _half(ticks, behind - 1)
    return behind - 1 if is_cut else behind


def _half(ticks: Ticks, at: int) -> float:
    """Return half of the time that a picture stands, or of the usual one where that is less."""
    gaps = np.diff(ticks)
    if not len(gaps):
        return 0.0
    return float(min(np.median(gaps), gaps[min(at, len(gaps) - 1)])) / 2


def _edits_of(file: BinaryIO, start: int, end: int, track: int, ticks_per_s: float) -> list[Edit]:
    film_ticks_per_s, is_fragmented, found = 0, False, b""
    for kind, begin, stop in inner_boxes(file, start + 8, end):
        if kind == b"mvhd":
            film_ticks_per_s = header_number(file, begin, at_v0=12, at_v1=20)
        elif kind == b"mvex":
            is_fragmented = True
        elif kind == b"trak":
            number, edits = _track(file, begin, stop)
            found = edits if number == track else found
    if not film_ticks_per_s or not found:
        return []
    scale = ticks_per_s / film_ticks_per_s
    # The length of a file that is written in fragments is not known when its list is.
    return [
        Edit(start, 0 if is_fragmented and start >= 0 else round(length * scale), rate)
        for start, length, rate in _entries(found)
    ]


def _track(file: BinaryIO, start: int, end: int) -> tuple[int, bytes]:
    """Return a track's number and the content of its edit list."""
    number, found = 0, b""
    for kind, begin, stop in inner_boxes(file, start, end):
        if kind == b"tkhd":
            number = header_number(file, begin, at_v0=12, at_v1=20)
        elif kind == b"edts":
            for inner, inner_begin, inner_stop in inner_boxes(file, begin, stop):
                if inner == b"elst":
                    file.seek(inner_begin)
                    found = file.read(min(inner_stop - inner_begin, 8 + 20 * _MAX_EDITS))
    return number, found


def _entries(content: bytes) -> Iterator[tuple[int, int, float]]:
    """Yield start, length and rate of an ``elst``'s entries."""
    width = 8 if content[0] == 1 else 4
    count = int.from_bytes(content[4:8], "big")
    size = 2 * width + 4
    for at in range(8, min(8 + count * size, len(content) - size + 1), size):
        length = int.from_bytes(content[at : at + width], "big")
        start = int.from_bytes(content[at + width : at + 2 * width], "big", signed=True)
        rate = int.from_bytes(content[at + 2 * width : at + size], "big", signed=True) / 65536
        yield start, length, max(rate, 0.0)


def inner_boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, begin and end of the content of the boxes within another."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        size, begin = int.from_bytes(head[:4], "big"), start + 8
        if size == 1:
            size, begin = int.from_bytes(head[8:16], "big"), start + 16
        stop = end if size == 0 else min(start + size, end)
        if stop < begin:
            return
        yield head[4:8], begin, stop
        start = stop


def header_number(file: BinaryIO, begin: int, *, at_v0: int, at_v1: int) -> int:
    """Return a number of a full box, whose place depends on its version."""
    file.seek(begin)
    head = file.read(32)
    at = at_v1 if head[:1] == b"\1" else at_v0
    return int.from_bytes(head[at : at + 4], "big")
