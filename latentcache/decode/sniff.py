"""What a file really is when no image decoder knows it, told from its first bytes."""

import re
from typing import NamedTuple

from latentcache.core.rejects import RejectCode

HEAD_BYTES = 4096
"""How much of a file is looked at."""

_GIT_LFS = b"version https://git-lfs.github.com/spec/"
_HTML = re.compile(
    rb"\s*(<!--.*?-->\s*)?(<!doctype html|<html|<head|<body)", re.IGNORECASE | re.DOTALL
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_STILL_BRANDS = _HEIF_BRANDS | {
    b"mif1",
    b"mif2",
    b"mif3",
    b"msf1",
    b"avif",
    b"avis",
    b"j2is",
    b"unif",
}
_MP4_BOXES = {b"moov", b"moof", b"mdat", b"styp", b"wide", b"free", b"skip", b"pnot", b"sidx"}
_PICTURE_STARTS = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
    b"\0\0\0\x0cjP  ": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"8BPS": "PSD",
}


class Finding(NamedTuple):
    """Why these bytes are no picture for us."""

    code: RejectCode
    reason: str


def find_other_content(head: bytes, *, size_bytes: int) -> Finding | None:
    """Return what the file is instead of a picture we read, or None if that cannot be told.

    Args:
        head: The first ``HEAD_BYTES`` bytes, or all there are.
        size_bytes: Size of the whole file.
    """
    if size_bytes == 0 or not head:
        return Finding(RejectCode.EMPTY, "the file is empty (0 bytes)")
    video = _video_name(head)
    if video:
        return Finding(RejectCode.NOT_AN_IMAGE, f"the file is a video ({video}), not a picture")
    return _unread_picture(head) or _not_media(head)


def picture_name(head: bytes) -> str:
    """Return the name of the picture format that the first bytes promise, or nothing."""
    if head[:4] == b"RIFF":
        return "WEBP" if head[8:12] == b"WEBP" else ""
    if head[4:8] == b"ftyp":
        return "AVIF" if _brands(head) & {b"avif", b"avis"} else ""
    return next((name for start, name in _PICTURE_STARTS.items() if head.startswith(start)), "")


def declared_bytes(head: bytes) -> int | None:
    """Return how long the file says it is, or at least must be; None if it does not say."""
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little")
    if head[:4] in (b"II*\0", b"MM\0*"):
        return int.from_bytes(head[4:8], "little" if head[:1] == b"I" else "big") + 2
    if head[4:8] in (b"ftyp", b"jP  "):
        return _end_of_boxes(head)
    return None


def _end_of_boxes(head: bytes) -> int | None:
    """Return where the last ISO base-media box that begins within ``head`` ends."""
    end = 0
    while end + 16 <= len(head):
        size = int.from_bytes(head[end : end + 4], "big")
        if size == 1:
            size = int.from_bytes(head[end + 8 : end + 16], "big")
        if size == 0:
            return None  # up to the end of the file, wherever that is
        if size < 8:
            break
        end += size
    return end


def _brands(head: bytes) -> set[bytes]:
    if head[4:8] != b"ftyp" or len(head) < 12:  # cut within the first brand
        return set()
    size = min(int.from_bytes(head[:4], "big"), 256)
    return {head[8:12], *(head[at : at + 4] for at in range(16, size, 4))}


def _video_name(head: bytes) -> str:
    brands = _brands(head)
    if brands and not brands & _STILL_BRANDS:
        return "mov" if b"qt  " in brands else "mp4"
    if not brands and head[4:8] in _MP4_BOXES:
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm" if b"webm" in head[:64] else "mkv"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    starts = {b"FLV\x01": "flv", b"\0\0\x01\xba": "mpeg", b"\0\0\x01\xb3": "mpeg"}
    starts |= {b"OggS": "ogg", b"0&\xb2u": "wmv"}
    starts |= {b"\x06\x0e\x2b\x34": "mxf", b"\x1f\x07\x00\x3f": "dv", b"\x1f\x07\x00\xbf": "dv"}
    if _is_transport_stream(head):
        return "ts"
    return starts.get(head[:4], "")


def _is_transport_stream(head: bytes) -> bool:
    """Return whether packets of 188 bytes follow each other, plain or with 4 bytes before each."""
    packets = ((0, 188), (4, 192))
    return any(
        len(head) > start + 2 * step and {head[start + k * step] for k in range(3)} == {0x47}
        for start, step in packets
    )


def _unread_picture(head: bytes) -> Finding | None:
    name = ""
    brands = _brands(head)
    if brands & _HEIF_BRANDS or (brands and not brands & {b"avif", b"avis"}):
        name = "a HEIF picture (as phones write, .heic)"
    elif head[:2] == b"\xff\x0a" or head[4:12] == b"JXL \r\n\x87\n":
        name = "a JPEG XL picture"
    elif b"<svg" in head[:1024].lower():
        name = "an SVG drawing"
    elif head[:5] == b"%PDF-":
        name = "a PDF document"
    elif head[:4] == b"%!PS":
        name = "a PostScript drawing"
    if not name:
        return None
    reason = f"the file is {name}, which is not read; convert it to PNG, JPEG or AVIF"
    return Finding(RejectCode.UNSUPPORTED, reason)


def _not_media(head: bytes) -> Finding | None:
    reason = ""
    if head.startswith(_GIT_LFS):
        reason = (
            "the file is a Git LFS pointer, not the picture itself; "
            "run `git lfs pull` where the corpus was cloned"
        )
    elif _HTML.match(head):
        reason = "the file is a web page (HTML), not a picture; download it again"
    elif not head.strip(b"\0"):
        reason = "the file begins with zero bytes only, as after an interrupted copy; copy it again"
    elif head[:4] == b"PK\x03\x04" or head[:2] == b"\x1f\x8b":
        reason = "the file is a compressed archive, not a picture; unpack it"
    elif _is_text(head):
        reason = "the file is text, not a picture"
    return Finding(RejectCode.NOT_MEDIA, reason) if reason else None


def _is_text(head: bytes) -> bool:
    return len(head) >= 16 and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
