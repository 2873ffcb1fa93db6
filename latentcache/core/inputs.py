"""What of a sample an encoder sees: its pixels, some of its frames, or a text that belongs to it.

An input is written in one word, the same on the command line, in recipes and in fingerprints:

- ``pixels``: the picture or the whole clip.
- ``first_frame``, ``last_frame``: that frame of the clip as a picture.
- ``first_frame+zeros``: that frame, and zeros *in the encoder's input range* for the rest of the
  clip, as Wan's image-to-video models are conditioned; ``first+last_frame+zeros`` has the last
  frame at its end too (source: diffusers, ``WanImageToVideoPipeline.prepare_latents``).
- ``text:NAME``: the annotation ``NAME``, a text or a list of texts a sample.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from latentcache.core.config import unknown_name
from latentcache.core.media import Bucket

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

_TEXT = "text"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class SampleInput:
    """An input, taken apart.

    Attributes:
        frames: Which frames of the medium; of a text ``pixels``.
        annotation: Whose text is encoded; "" for a medium.
    """

    frames: Frames = "pixels"
    annotation: str = ""

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
    if asked not in FRAMES:
        known = [*FRAMES, "text:caption"]
        raise ValueError(unknown_name("input", asked, known, where="of a column"))
    return SampleInput(frames=asked)


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
