"""Files changed byte by byte, as cameras, cutters and players leave them."""

import io
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction

import av


def box_at(data: bytes, *path: bytes) -> int:
    """Return where an MP4 box begins, of the first of each name."""
    start, end = 0, len(data)
    for depth, kind in enumerate(path):
        while data[start + 4 : start + 8] != kind:
            start += int.from_bytes(data[start : start + 4], "big")
            assert start < end, kind
        if depth < len(path) - 1:
            start += 8
    return start


def with_edits(data: bytes, edits: Sequence[tuple[int, int]]) -> bytes:
    """Return an MP4 file with another edit list.

    Args:
        data: The file; its ``edts`` box is replaced, what follows ``moov`` must not move.
        edits: Length in ms (the film's clock), start in ticks of the track, of each.
    """
    entries = b"".join(struct.pack(">Iii", length, start, 0x10000) for length, start in edits)
    content = struct.pack(">II", 0, len(edits)) + entries
    elst = struct.pack(">I4s", 8 + len(content), b"elst") + content
    edts = struct.pack(">I4s", 8 + len(elst), b"edts") + elst
    at = box_at(data, b"moov", b"trak", b"edts")
    old = int.from_bytes(data[at : at + 4], "big")
    changed = bytearray(data[:at] + edts + data[at + old :])
    for place in (box_at(data, b"moov"), box_at(data, b"moov", b"trak")):
        size = int.from_bytes(data[place : place + 4], "big") + len(edts) - old
        changed[place : place + 4] = size.to_bytes(4, "big")
    return bytes(changed)


def with_aperture(data: bytes, values: Sequence[int]) -> bytes:
    """Return an MP4 file whose first track has a ``clap`` box, behind its sample entry's others.

    Args:
        data: The file; what follows ``moov`` must not move.
        values: Width, height, offset to the right and down, as numerator and denominator each.
    """
    path = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    places = [box_at(data, *path[: depth + 1]) for depth in range(len(path))]
    entry = places[-1] + 16
    clap = struct.pack(">I4s8i", 40, b"clap", *values)
    end = entry + int.from_bytes(data[entry : entry + 4], "big")
    changed = bytearray(data[:end] + clap + data[end:])
    for place in (*places, entry):
        size = int.from_bytes(data[place : place + 4], "big") + len(clap)
        changed[place : place + 4] = size.to_bytes(4, "big")
    return bytes(changed)


def with_matrix(data: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """Return an MP4 file whose display matrix has these numbers that turn."""
    a, b, c, d = (value * 65536 for value in matrix)
    at = box_at(data, b"moov", b"trak", b"tkhd") + 48
    packed = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    return data[:at] + packed + data[at + 36 :]


def remuxed(
    data: bytes,
    *,
    container: str = "matroska",
    times: Sequence[int] | None = None,
    skip: int = 0,
    replaced: dict[int, bytes] | None = None,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """Return the packets of a video in another file, nothing encoded again.

    Args:
        data: The video.
        container: FFmpeg's name of the muxer.
        times: Of each packet, in ms; as they are without.
        skip: Packets at the start that are left out.
        replaced: Content by packet number.
        metadata: Of the track.
    """
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format=container) as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        stream.metadata.update(metadata or {})
        packets: Iterable[av.Packet] = [each for each in source.demux(video=0) if each.size]
        for number, packet in enumerate(packets):
            if number < skip:
                continue
            content = (replaced or {}).get(number)
            copy = packet if content is None else av.Packet(content)
            if content is not None:
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.stream = stream
            if times is not None:
                copy.time_base = Fraction(1, 1000)
                copy.pts = copy.dts = times[number]
            output.mux(copy)
    return file.getvalue()


def with_time_off(data: bytes, number: int, off_ms: int) -> bytes:
    """Return a Matroska file one of whose blocks has a wrong time, by less than 30 s."""
    with av.open(io.BytesIO(data)) as container:
        packets = [each for each in container.demux(video=0) if each.size]
        at = data.index(bytes(packets[number])) - 4  # track, time, flags
        assert data[at] == 0x81, "the first track"
    told = int.from_bytes(data[at + 1 : at + 3], "big", signed=True) + off_ms
    return data[: at + 1] + told.to_bytes(2, "big", signed=True) + data[at + 3 :]


def field_coded_h264(levels: Sequence[int]) -> bytes:
    """Return H.264 (start codes) of two pictures a frame: a top field, then a bottom one.

    A frame is 32x32 px and grey: its top field has the level given, its bottom field one more.
    Every macroblock is I_PCM. Source: ITU-R H.264, 7.3.
    """
    sequence = (
        _bits(77, 8) + _bits(0, 8) + _bits(30, 8) + _ue(0, 0, 2, 1) + "0" + _ue(1, 0) + "00100"
    )
    picture = _ue(0, 0) + "00" + _ue(0, 0, 0) + "000" + _ue(0, 0, 0) + "100"
    units = [_unit(0x67, [sequence]), _unit(0x68, [picture])]
    for frame, level in enumerate(levels):
        for is_bottom in (False, True):
            is_first = frame == 0 and not is_bottom
            head = _ue(0, 7, 0) + _bits(frame % 16, 4) + "1" + _bits(int(is_bottom), 1)
            head += _ue(0) + "00" if is_first else "0"
            head += _ue(0, 1)  # quantiser, no deblocking
            pixels = bytes([level + is_bottom]) * 256 + bytes([128]) * 128
            parts = [head + _ue(25), pixels, _ue(25), pixels, ""]
            units.append(_unit(0x65 if is_first else 0x61, parts))
    return b"".join(units)


def _bits(value: int, count: int) -> str:
    return format(value, f"0{count}b")


def _ue(*values: int) -> str:
    codes = [format(value + 1, "b") for value in values]
    return "".join("0" * (len(code) - 1) + code for code in codes)


def _unit(head: int, parts: Sequence[str | bytes]) -> bytes:
    """Return a unit of bits and aligned bytes, with its trailing bit and emulation prevention."""
    payload = b""
    for number, part in enumerate(parts):
        if isinstance(part, bytes):
            payload += part
            continue
        text = part + "1" if number == len(parts) - 1 else part
        text += "0" * (-len(text) % 8)
        payload += int(text, 2).to_bytes(len(text) // 8, "big")
    escaped = bytearray()
    for byte in payload:
        if escaped[-2:] == b"\0\0" and byte <= 3:
            escaped.append(3)
        escaped.append(byte)
    return b"\0\0\0\1" + bytes([head]) + bytes(escaped)
