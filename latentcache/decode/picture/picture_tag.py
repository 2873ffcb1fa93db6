"""What a picture file says of its colours beside an ICC profile: where it does not mean sRGB.

What is believed, first to last:

- PNG: ``cICP``, the ICC profile, ``sRGB``, then ``gAMA`` and ``cHRM`` (PNG, third edition, 4.3).
- AVIF: the ICC profile, then ``nclx`` of the primary item (HEIF, 6.5.5), else what the AV1
  stream says.
- Any ICC profile that says by a ``cicp`` tag that it is PQ or HLG (ICC.1:2022, 9.2.17) is read by
  these code points: its tables hold somebody's tone mapping.
"""

import struct
from io import BytesIO

from PIL import ImageFile

from latentcache.decode.picture.avif_boxes import find_nclx
from latentcache.decode.pixels.gamut import ColourTag

_SRGB = ColourTag()


def read_tag(image: ImageFile.ImageFile, data: bytes) -> ColourTag | None:
    """Return the tag to convert a picture by; None where an ICC profile is to be used instead.

    Args:
        image: Opened; nothing of its pixels is needed.
        data: The whole file.
    """
    if image.format == "PNG":
        points = _png_cicp(data)
        if points is not None:
            return ColourTag.from_cicp(*points)
    profile = image.info.get("icc_profile")
    if profile:
        points = _icc_cicp(profile)
        tag = ColourTag.from_cicp(*points) if points is not None else _SRGB
        return tag if tag.is_hdr else None
    if image.format == "PNG" and "srgb" not in image.info:
        return ColourTag.from_png(image.info.get("gamma"), image.info.get("chromaticity"))
    if image.format == "AVIF":
        points = find_nclx(data) or _stream_points(data)
        return ColourTag.from_cicp(*points)
    return _SRGB


def _png_cicp(data: bytes) -> tuple[int, int] | None:
    """Return (primaries, transfer) of a PNG's ``cICP``, which lies before its pixels."""
    at = 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if kind == b"IDAT":
            return None
        if kind == b"cICP" and size == 4:
            return data[at + 8], data[at + 9]
        at += 12 + size
    return None


def _icc_cicp(profile: bytes) -> tuple[int, int] | None:
    """Return (primaries, transfer) of a profile's ``cicp`` tag."""
    if len(profile) < 132:
        return None
    (count,) = struct.unpack_from(">I", profile, 128)
    for number in range(min(count, 100)):
        entry = profile[132 + 12 * number : 144 + 12 * number]
        if len(entry) == 12 and entry[:4] == b"cicp":
            (at,) = struct.unpack_from(">I", entry, 4)
            told = profile[at : at + 12]
            return (told[8], told[9]) if len(told) == 12 and told[:4] == b"cicp" else None
    return None


def _stream_points(data: bytes) -> tuple[int, int]:
    """Return (primaries, transfer) of an AVIF that has no ``nclx``, from its AV1 stream."""
    import av  # noqa: PLC0415  it takes a moment to load, and nearly all files have nclx

    try:
        with av.open(BytesIO(data), options={"format_whitelist": "mov"}) as container:
            context = container.streams.video[0].codec_context
            return int(context.color_primaries), int(context.color_trc)
    except (av.FFmpegError, IndexError):
        return 2, 2  # not said
