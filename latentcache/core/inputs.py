"""What of a sample an encoder sees: its pixels, some of its frames, a further medium, or a text.

An input is written in one word, the same on the command line, in recipes and in fingerprints:

- ``pixels``: the picture or the whole clip.
- ``first_frame``, ``last_frame``: that frame of the clip as a picture.
- ``first_frame+zeros``: that frame, and zeros *in the encoder's input range* for the rest of the
  clip, as Wan's image-to-video models are conditioned; ``first+last_frame+zeros`` has the last
  frame at its end too (source: diffusers, ``WanImageToVideoPipeline.prepare_latents``).
- ``role:NAME``: the sample's further medium of that role; ``role:NAME:FRAMES`` some frames of it.
- ``text:NAME``: the annotation ``NAME``, a text or a list of texts a sample.

Pixels may be changed on their way to the encoder: ``pixels/canny``, ``role:control/blur=2``; see
``decode.derived``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from latentcache.core.config import unknown_name
from latentcache.core.media import Bucket
from latentcache.core.roles import checked_role

Frames = Literal[
    "pixels", "first_frame", "first_frame+zeros", "last_frame", "first+last_frame+zeros"
]
FRAMES: tuple[Frames, ...] = (
    "pixels",
    "first_frame",
    "first_frame+zeros",
    "last_frame",
    "first+last_frame+zeros",
)
ALL_PIXELS = "pixels"
"""The default, which no fingerprint names: stores are older than inputs."""

Modality = Literal["pixels", "text"]

DERIVED: Mapping[str, float | None] = {
    "alpha": None,
    "blur": 2.0,
    "canny": None,
    "grey": None,
    "low_resolution": 4.0,
    "nearest": None,
}
"""Ways to change pixels, with the number that each takes where none is given; None takes none."""

_TEXT, _ROLE = "text", "role"
_MOST = 64
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class SampleInput:
    """An input, taken apart.

    Attributes:
        frames: Which frames of the medium; of a text ``pixels``.
        annotation: Whose text is encoded; "" for a medium.
        role: Whose medium is encoded; "" for the sample's own.
        derived: How pixels are changed, of ``DERIVED``; "" where they are not.
        amount: The number that goes with it; None where it takes none.
    """

    frames: Frames = "pixels"
    annotation: str = ""
    role: str = ""
    derived: str = ""
    amount: float | None = None

    @property
    def is_of_sample(self) -> bool:
        """Whether what is encoded is the sample's own medium."""
        return not self.annotation and not self.role

    @property
    def modality(self) -> Modality:
        """What an encoder of it must take."""
        return "text" if self.annotation else "pixels"


@lru_cache(maxsize=64)
def parse_input(asked: str) -> SampleInput:
    """Return the parts of an input.

    Raises:
        ValueError: It is none; says which there are.
    """
    kind, separator, name = asked.partition(":")
    if kind == _TEXT and separator:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"input must be text:NAME with the name of an annotation, got {asked!r}; write "
                "for instance text:caption"
            )
        return SampleInput(annotation=name)
    medium, has_derived, asked_derived = asked.partition("/")
    derived, amount = _derived(asked_derived, asked) if has_derived else ("", None)
    kind, separator, name = medium.partition(":")
    role = ""
    if kind == _ROLE and separator:
        role, _, frames = name.partition(":")
        checked_role(role)
        medium = frames or ALL_PIXELS
    if medium not in FRAMES:
        known = [*FRAMES, "role:control", "text:caption", "pixels/canny"]
        raise ValueError(unknown_name("input", asked, known, where="of a column"))
    return SampleInput(frames=medium, role=role, derived=derived, amount=amount)


def canonical_input(asked: str) -> str:
    """Return the one way in which an input is written down; two that mean one thing are equal.

    Raises:
        ValueError: It is none.
    """
    found = parse_input(asked)
    if found.annotation:
        return asked
    frames = "" if found.role and found.frames == ALL_PIXELS else found.frames
    parts = [f"{_ROLE}:{found.role}" if found.role else "", frames]
    amount = "" if found.amount is None else f"={found.amount:g}"
    derived = f"/{found.derived}{amount}" if found.derived else ""
    return ":".join(filter(None, parts)) + derived


def _derived(text: str, asked: str) -> tuple[str, float | None]:
    """Return how pixels are changed, and the number that goes with it.

    Raises:
        ValueError: There is no such way, or it takes no such number.
    """
    name, has_amount, number = text.partition("=")
    if name not in DERIVED:
        raise ValueError(unknown_name("derived input", name, list(DERIVED), where=f"in {asked}"))
    usual = DERIVED[name]
    if not has_amount:
        return name, usual
    try:
        amount = float(number)
    except ValueError:
        amount = 0.0
    if usual is None or not 0 < amount <= _MOST:
        rule = "no number" if usual is None else f"a number above 0 and up to {_MOST}"
        raise ValueError(f"{name} must be given {rule}, got {asked!r}; write for instance {name}")
    return name, amount


def recorded_input(recorded: Mapping[str, Any]) -> str:
    """Return the input of an encoding, from the transform that its record names."""
    return str(recorded.get("input", ALL_PIXELS))


def frame_numbers(bucket: Bucket, asked: str) -> tuple[int, ...]:
    """Return which frames of a planned clip are decoded, from 0; () is as many as are decoded."""
    frames, last = parse_input(asked).frames, bucket.num_frames - 1
    if not last or frames in ("pixels", "first_frame", "first_frame+zeros"):
        return ()
    return (last,) if frames == "last_frame" else (0, last)


def decoded_bucket(bucket: Bucket, asked: str) -> Bucket:
    """Return the shape of the pixels that are decoded of a sample of ``bucket``."""
    if parse_input(asked).frames == "pixels":
        return bucket
    num_frames = len(frame_numbers(bucket, asked)) or 1
    return Bucket(num_frames, bucket.height_px, bucket.width_px)


def encoded_bucket(bucket: Bucket, asked: str) -> Bucket:
    """Return the shape of the pixels that the encoder is given of a sample of ``bucket``."""
    has_all = parse_input(asked).frames not in ("first_frame", "last_frame")
    return bucket if has_all else decoded_bucket(bucket, asked)


def num_zero_frames(bucket: Bucket, asked: str) -> int:
    """Return how many frames of zeros follow the first decoded one."""
    return encoded_bucket(bucket, asked).num_frames - decoded_bucket(bucket, asked).num_frames
