"""Picture files of kinds that Pillow does not write, drawn byte by byte."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def chunk(name: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples: NDArray[np.int64], *, bits: int, kind: int, before_pixels: bytes = b"") -> bytes:
    """Return a PNG.

    Args:
        samples: (H, W) or (H, W, channels), in the numbers of the file.
        bits: Of a sample: 1, 2, 4, 8 or 16.
        kind: Colour type: 0 grey, 2 colours, 3 palette, 4 grey and alpha, 6 colours and alpha.
        before_pixels: Further chunks.
    """
    height, width = samples.shape[:2]
    flat = samples.reshape(height, -1)
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    else:
        places = (flat[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        rows = [np.packbits(row.astype(np.uint8).ravel()).tobytes() for row in places]
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before_pixels
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )


def with_chunk(png_bytes: bytes, name: bytes, data: bytes) -> bytes:
    """Return a PNG with one more chunk before its pixels."""
    at = png_bytes.index(b"IDAT") - 4
    return png_bytes[:at] + chunk(name, data) + png_bytes[at:]


def grey_tiff(samples: NDArray[np.int64], *, bits: int, is_white_zero: bool = False) -> bytes:
    """Return a grey TIFF of 12 bits, packed, or of 16.

    Args:
        samples: (H, W), in the numbers of the file; W is even.
        bits: 12 or 16.
        is_white_zero: Photometric interpretation 0 instead of 1.
    """
    height, width = samples.shape
    if bits == 12:
        first, second = samples[:, ::2].astype(int), samples[:, 1::2].astype(int)
        packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
        pixels = packed.astype(np.uint8).tobytes()
    else:
        pixels = samples.astype("<u2").tobytes()
    tags = {258: (bits,), 262: 0 if is_white_zero else 1, 277: 1}
    return tiff(width, height, tags, pixels)


def tiff(width: int, height: int, tags: dict[int, int | tuple[int, ...]], pixels: bytes) -> bytes:
    """Return an uncompressed TIFF of one strip; tuples are written as numbers of 16 bits."""
    tags = {256: width, 257: height, 259: 1, 278: height, 279: len(pixels), 273: 0, **tags}
    entries, beyond = [], b""
    start = 8 + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        if isinstance(value, int):
            entries.append([tag, 4, 1, value])
            continue
        packed = struct.pack(f"<{len(value)}H", *value)
        inside = int.from_bytes(packed, "little") if len(packed) <= 4 else start + len(beyond)
        beyond += packed if len(packed) > 4 else b""
        entries.append([tag, 3, len(value), inside])
    for entry in entries:
        if entry[0] == 273:
            entry[3] = start + len(beyond)
    told = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + told + bytes(4) + beyond + pixels
