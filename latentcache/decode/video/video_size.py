"""How long a video file says it is: decoders take one cut short for one that just ends."""

import os
from collections.abc import Iterator
from typing import BinaryIO

_MAX_BOXES = 100_000
_BOX_TYPES = frozenset(
    b"ftyp moov mdat moof mfra free skip wide uuid meta styp sidx pnot udta emsg prft".split()
)
_UNKNOWN_RIFF = 0xFFFFFFFF
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def declared_end(file: BinaryIO, size_bytes: int) -> int:
    """Return where the file's outermost parts end; 0 if it does not say.

    ISO media (mp4, mov, 3gp) are followed box by box; Matroska and AVI say it at the start.

    Args:
        file: Seekable.
        size_bytes: Of the whole file.
    """
    file.seek(0, os.SEEK_SET)
    head = file.read(64)
    if head[4:8] in _BOX_TYPES:
        return max((end for _, end in outer_boxes(file, size_bytes)), default=0)
    if head[:4] == _EBML:
        return _end_of_segment(head)
    if head[:4] == b"RIFF":
        return _end_of_riff(head, size_bytes)
    return 0


def outer_boxes(file: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Yield the kind of each outermost box of an ISO media file, and where it says it ends.

    What follows the last box and is none is passed over.

    Args:
        file: Seekable.
        size_bytes: Of the whole file.
    """
    end = 0
    for _ in range(_MAX_BOXES):
        file.seek(end)
        head = file.read(16)
        if len(head) < 8 or head[4:8] not in _BOX_TYPES:
            return
        size = int.from_bytes(head[:4], "big")
        if size == 1:  # a longer number follows
            size = int.from_bytes(head[8:16], "big")
        if size == 0:  # up to the end of the file, wherever that is
            yield head[4:8], end
            return
        if size < 8:
            return
        end += size
        yield head[4:8], end
        if end >= size_bytes:
            return


def _end_of_segment(head: bytes) -> int:
    """Return where Matroska's one segment ends; 0 where it was written without knowing."""
    at = 4
    length, width = _variable_int(head, at)
    at += width + length
    if length < 0 or head[at : at + 4] != _SEGMENT:
        return 0
    length, width = _variable_int(head, at + 4)
    return at + 4 + width + length if length >= 0 else 0


def _end_of_riff(head: bytes, size_bytes: int) -> int:
    """Return where an AVI's first part ends; 0 where it was written without knowing.

    Some writers count the part's own header of 8 bytes in, and some a byte of padding that
    they do not write: no more than that is missing from a whole file.
    """
    told = int.from_bytes(head[4:8], "little")
    if told in (0, _UNKNOWN_RIFF):
        return 0
    return size_bytes if size_bytes < 8 + told <= size_bytes + 9 else 8 + told


def _variable_int(head: bytes, at: int) -> tuple[int, int]:
    """Return an EBML length and how many bytes it takes; a length of -1 is unknown."""
    if at >= len(head) or not head[at]:
        return -1, 1
    width = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + width], "big") & ((1 << (7 * width)) - 1)
    is_unknown = value == (1 << (7 * width)) - 1
    return (-1 if is_unknown else value), width
