"""How the media of one encoding become pixels; plain values that travel in fingerprints."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from latentcache.core.errors import StoreError
from latentcache.core.inputs import ALL_PIXELS, parse_input, recorded_input
from latentcache.core.roles import RoleRule
from latentcache.decode.derived.derive import derived_identity
from latentcache.decode.pixel_options import ImageTransform, Reading, VideoTransform


def _picture_facts() -> dict[str, str]:
    from latentcache.decode.library_facts import picture_facts  # noqa: PLC0415  it loads all codecs

    return picture_facts()


def _clip_facts() -> dict[str, str]:
    from latentcache.decode.clips.clip_facts import clip_facts  # noqa: PLC0415  PyAV

    return clip_facts()


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaTransform:
    """How pictures and clips become pixels, for one encoding.

    Where no libraries are named, they are those of this machine.
    """

    image: ImageTransform
    video: VideoTransform | None = None
    """None for encoders that take no clips: the rules of videos are none of their identity."""
    input: str = ALL_PIXELS
    """What of each sample is encoded; hashed only if it is not all of it."""
    role: RoleRule | None = None
    """How the media of the input's role are cut; None where it has none."""

    def __post_init__(self) -> None:
        # Frozen, and both are filled in once: an identity always says whose pixels they are.
        if self.image.libraries is None:
            image = replace(self.image, libraries=_picture_facts())
            object.__setattr__(self, "image", image)
        if self.video is not None and self.video.libraries is None:
            video = replace(self.video, libraries=_clip_facts())
            object.__setattr__(self, "video", video)
        if parse_input(self.input).modality != "pixels":
            raise ValueError(f"input of a transform of pixels must be pixels, got {self.input!r}")
        if (self.role is None) != (not parse_input(self.input).role):
            raise ValueError(f"input and role must go together, got {self.input} and {self.role}")

    @property
    def reading(self) -> Reading:
        """What is read of a picture."""
        readings: dict[str, Reading] = {"alpha": "alpha", "nearest": "nearest"}
        return readings.get(parse_input(self.input).derived, "colour")

    def identity(self) -> dict[str, Any]:
        """Return all that can change a pixel, as plain data for the fingerprint."""
        identity = self.image.identity()
        if self.video is not None:
            identity["video"] = self.video.identity()
        if self.role is not None:
            identity["role"] = self.role.identity()
        if derived := derived_identity(self.input):
            identity["derived"] = derived
        return identity if self.input == ALL_PIXELS else {**identity, "input": self.input}

    def check_libraries(self) -> None:
        """Refuse to go on where this machine's libraries make other pixels than were asked for.

        Raises:
            StoreError: They do; both sides are in the sentence.
        """
        here: dict[str, str] = _picture_facts()
        asked = dict(self.image.libraries or {})
        if self.video is not None:
            here, asked = here | _clip_facts(), asked | dict(self.video.libraries or {})
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
            role = RoleRule.from_identity(recorded["role"]) if "role" in recorded else None
        except (TypeError, KeyError) as error:
            raise ValueError(str(error)) from None
        found = cls(image=image, video=video, input=recorded_input(recorded), role=role)
        if _plain(found.identity()) != _plain(recorded):
            raise ValueError(f"the rules here are {_plain(found.identity())}")
        return found


def _values(recorded: Mapping[str, Any]) -> dict[str, Any]:
    left_out = ("kind", "resize", "video", "input", "role", "derived")
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
