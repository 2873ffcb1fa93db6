"""What a user may set about the pixels of pictures and of clips; plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Hdr = Literal["tone_map", "refuse"]

Reading = Literal["colour", "alpha", "nearest"]
"""What is read of a picture: its colours, its alpha as grey, or colours that nothing has mixed."""

TRANSFORM_VERSION = 2
"""Raised when a rule of ``decode.image`` or ``decode.colour`` changes what comes out.

1 was Pillow's lanczos, whose bits depended on Pillow's version.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """What is refused before any pixel is decoded."""

    max_pixels: int = 178_956_970
    """Width x height. The size at which Pillow too calls a file a decompression bomb:
    half a gigabyte of 8-bit RGB."""

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels must be at least 1, got {self.max_pixels}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTransform:
    """How any picture becomes 8-bit sRGB of its bucket's size; part of the fingerprint."""

    version: int = TRANSFORM_VERSION
    background: tuple[int, ...] = (255, 255, 255)
    """sRGB, 0 to 255; what shows through transparent pixels."""
    hdr: Hdr = "tone_map"
    """PQ and HLG to sRGB by the rule of ``decode.tone``, or into quarantine."""
    reducing_gap: float = 2.0
    """A JPEG far too large is decoded at 1/2, 1/4 or 1/8, as long as it stays this many times
    larger than wanted; lanczos does the rest. At 2 most photos are 53 dB or more from lanczos
    alone, sharp ones at exactly 4 or 8 times the wanted size 40 to 46 dB, and 12 megapixels take
    half the time; see docs/benchmarks/decode_cpu_202611.md."""
    libraries: Mapping[str, str] | None = None
    """What libraries make of fixed inputs (``decode.library_facts``); see ``MediaTransform``."""

    def __post_init__(self) -> None:
        if self.version != TRANSFORM_VERSION:
            raise ValueError(
                f"version must be {TRANSFORM_VERSION}, got {self.version} (image transform); "
                "use the release that wrote it, or encode again"
            )
        _check_background(self.background)
        _check_hdr(self.hdr, "image")
        if self.reducing_gap < 1.0:
            raise ValueError(f"reducing_gap must be at least 1.0, got {self.reducing_gap}")

    def identity(self) -> dict[str, Any]:
        """Return all that can change a pixel, as plain data for the fingerprint."""
        return {"kind": "image", "resize": "lanczos", **asdict(self)}


VIDEO_TRANSFORM_VERSION = 2
"""Raised when a rule of ``decode.clip``, ``decode.video_pixels`` or ``decode.tone`` changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTransform:
    """How frames of any video become 8-bit sRGB of their bucket's size; part of the fingerprint."""

    version: int = VIDEO_TRANSFORM_VERSION
    background: tuple[int, ...] = (255, 255, 255)
    """sRGB, 0 to 255; what shows through transparent pixels."""
    hdr: Hdr = "tone_map"
    """PQ and HLG to sRGB by the rule of ``decode.tone``, or into quarantine."""
    libraries: Mapping[str, str] | None = None
    """What libraries make of fixed inputs (``decode.clips.clip_facts``); see ``MediaTransform``."""

    def __post_init__(self) -> None:
        if self.version != VIDEO_TRANSFORM_VERSION:
            raise ValueError(
                f"version must be {VIDEO_TRANSFORM_VERSION}, got {self.version} (video transform); "
                "use the release that wrote it, or encode again"
            )
        _check_background(self.background)
        _check_hdr(self.hdr, "video")

    def identity(self) -> dict[str, Any]:
        """Return all that can change a pixel, as plain data for the fingerprint."""
        return {"kind": "video", "resize": "lanczos", **asdict(self)}


def _check_background(background: tuple[int, ...]) -> None:
    if len(background) != 3 or not all(0 <= value <= 255 for value in background):
        raise ValueError(f"background must be three numbers from 0 to 255, got {background}")


def _check_hdr(hdr: str, kind: str) -> None:
    if hdr not in ("tone_map", "refuse"):
        raise ValueError(f"hdr must be tone_map or refuse, got {hdr!r} ({kind} transform)")
