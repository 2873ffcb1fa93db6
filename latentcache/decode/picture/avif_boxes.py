"""The colour box of an AVIF's primary picture (ISO/IEC 23008-12 and 14496-12).

A file may hold several: of the picture, of a gain map, of a preview. Only what the primary
item is associated with is its own.
"""

import struct
from collections.abc import Iterator

Points = tuple[int, int]


def find_nclx(data: bytes) -> Points | None:
    """Return (primaries, transfer) of the primary item's ``nclx``; None if it has none.

    Args:
        data: The whole file; what is broken in it counts as not said.
    """
    try:
        boxes = {kind: body for kind, body in _boxes(data) if kind in (b"meta", b"moov")}
        if b"meta" not in boxes:
            return None
        meta = dict(_boxes(boxes[b"meta"][4:]))
        properties = dict(_boxes(meta[b"iprp"]))
        known = [body if kind == b"colr" else b"" for kind, body in _boxes(properties[b"ipco"])]
        item = _primary_item(meta[b"pitm"])
        for number in _associated(properties[b"ipma"], item):
            if 1 <= number <= len(known) and known[number - 1][:4] == b"nclx":
                primaries, transfer = struct.unpack_from(">HH", known[number - 1], 4)
                return primaries, transfer
    except (KeyError, struct.error):
        pass
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each box, as long as they are whole."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:  # a longer number follows
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = at + size if size else len(data)
        if end < start or end > len(data):
            return
        yield kind, data[start:end]
        at = end


def _primary_item(pitm: bytes) -> int:
    (item,) = struct.unpack_from(">H" if pitm[0] == 0 else ">I", pitm, 4)
    return int(item)


def _associated(ipma: bytes, wanted: int) -> list[int]:
    """Return the numbers of an item's properties, counted from 1."""
    is_long_item, is_long_property = ipma[0] >= 1, bool(ipma[3] & 1)
    (count,) = struct.unpack_from(">I", ipma, 4)
    at = 8
    for _ in range(count):
        (item,) = struct.unpack_from(">I" if is_long_item else ">H", ipma, at)
        at += 4 if is_long_item else 2
        (num_properties,) = struct.unpack_from(">B", ipma, at)
        at += 1
        width, mask = (2, 0x7FFF) if is_long_property else (1, 0x7F)
        if item == wanted:
            form = f">{num_properties}{'H' if is_long_property else 'B'}"
            return [number & mask for number in struct.unpack_from(form, ipma, at)]
        at += width * num_properties
    return []
