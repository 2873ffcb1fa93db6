"""What a user may set about decoding; plain values that travel in recipes and fingerprints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from latentcache.core.errors import StoreError
from latentcache.core.inputs import ALL_PIXELS, parse_input, recorded_input

Hdr = Literal["tone_map", "refuse"]

TRANSFORM_VERSION = 2
"""Raised when a rule of ``decode.image`` or ``decode.colour`` changes what comes out.

1 was Pillow's lanczos, whose bits depended on Pillow's version.
"""


def _picture_facts() -> dict[str, str]:
    from latentcache.decode.library_facts import picture_facts  # noqa: PLC0415  it loads all codecs

    return picture_facts()


def _clip_facts() -> dict[str, str]:
    from latentcache.decode.clips.clip_facts import clip_facts  # noqa: PLC0415  PyAV

    return clip_facts()


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
    libraries: Mapping[str, str] = field(default_factory=_picture_facts)
    """What the installed libraries make of fixed inputs (``decode.facts``)."""

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
    libraries: Mapping[str, str] = field(default_factory=_clip_facts)
    """What the installed libraries make of fixed inputs (``decode.clip_facts``)."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaTransform:
    """How pictures and clips become pixels, for one encoding."""

    image: ImageTransform
    video: VideoTransform | None = None
    """None for encoders that take no clips: the rules of videos are none of their identity."""
    input: str = ALL_PIXELS
    """What of each sample is encoded; hashed only if it is not all of it."""

    def __post_init__(self) -> None:
        if parse_input(self.input).modality != "pixels":
            raise ValueError(f"input of a transform of pixels must be pixels, got {self.input!r}")

    def identity(self) -> dict[str, Any]:
        """Return all that can change a pixel, as plain data for the fingerprint."""
        identity = self.image.identity()
        if self.video is not None:
            identity["video"] = self.video.identity()
        return identity if self.input == ALL_PIXELS else {**identity, "input": self.input}

    def check_libraries(self) -> None:
        """Refuse to go on where this machine's libraries make other pixels than were asked for.

        Raises:
            StoreError: They do; both sides are in the sentence.
        """
        here: dict[str, str] = _picture_facts()
        asked = dict(self.image.libraries)
        if self.video is not None:
            here, asked = here | _clip_facts(), asked | dict(self.video.libraries)
        if here == asked:
            return
        names = sorted(name for name in here | asked if here.get(name) != asked.get(name))
        then, now = (
            ", ".join(f"{name} {facts.get(name, 'unknown')}" for name in names)
            for facts in (asked, here)
        )
        raise StoreError(
            f"libraries must make the pixels that the encoding began with ({then}), got others "
            f"on this machine ({now}); install the same Pillow, simplejpeg, torch and PyAV on "
            "all machines"
        )

    @classmethod
    def from_identity(cls, recorded: Mapping[str, Any]) -> "MediaTransform":
        """Return the transform that ``identity`` described.

        Raises:
            ValueError: This version has other rules.
        """
        try:
            image = ImageTransform(**_values(recorded))
            video = VideoTransform(**_values(recorded["video"])) if "video" in recorded else None
        except (TypeError, KeyError) as error:
            raise ValueError(str(error)) from None
        found = cls(image=image, video=video, input=recorded_input(recorded))
        if _plain(found.identity()) != _plain(recorded):
            raise ValueError(f"the rules here are {_plain(found.identity())}")
        return found


def _values(recorded: Mapping[str, Any]) -> dict[str, Any]:
    left_out = ("kind", "resize", "video", "input")
    values = {name: value for name, value in recorded.items() if name not in left_out}
    return {**values, "background": tuple(values["background"])}


def _plain(values: Any) -> Any:
    """Return values as JSON gives them back: tuples are lists there."""
    if isinstance(values, Mapping):
        return {name: _plain(value) for name, value in values.items()}
    return list(values) if isinstance(values, tuple) else values


def pixel_rules(recorded: Mapping[str, Any]) -> dict[str, str]:
    """Return which rules and libraries made an encoding's pixels, by name, as it is recorded.

    Args:
        recorded: What ``MediaTransform.identity`` returned, in this release or another.
    """
    rules = {"version": str(recorded.get("version", "unknown")), **recorded.get("libraries", {})}
    video = recorded.get("video", {})
    rules.update(
        {f"video {name}": value for name, value in pixel_rules(video).items()} if video else {}
    )
    return rules
