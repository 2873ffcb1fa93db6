"""How many frames an encoder takes, and how many latent frames it makes of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, cycle, islice
from typing import Any, Self

_RULE_PATTERN = re.compile(r"([1-9]\d*)k(?:\+([1-9]\d*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRule:
    """Legal frame counts ``T = first + k * step`` and the latent frames they give.

    ``latent_first + k * latent_step`` latent frames come out for the k above.

    Attributes:
        first: The shortest clip.
        step: Frames by which longer ones grow.
        latent_first: Latent frames of the shortest clip.
        latent_step: Latent frames that ``step`` frames add.
        takes_picture: One frame is legal as well, and gives one latent frame.
        cycle: Frames of each latent frame, over and over, where groups do not share theirs evenly;
            MiniMax-H3's are (1, 4, 4, 4, 4).
    """

    first: int = 1
    step: int = 1
    latent_first: int = 1
    latent_step: int = 1
    takes_picture: bool = False
    cycle: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The rule as people read it: ``1 + k * 4``."""
        also = "1, or " if self.takes_picture and self.first != 1 else ""
        return f"{also}{self.first} + k * {self.step}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule of causal text like ``8k+1``, or of groups alone like ``4k``.

        Raises:
            ValueError: ``text`` is neither.
        """
        match = _RULE_PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"frames must be a rule like 8k+1 or 4k, got {text!r}; correct it")
        step, first = int(match[1]), int(match[2] or match[1])
        return cls(first=first, step=step)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self | None:
        """Return the rule that an encoding's recorded spec has, or None if it has none."""
        values = spec.get("frame_rule")
        if not isinstance(values, Mapping):
            return None
        return cls(**{**values, "cycle": tuple(values.get("cycle", ()))})

    def admits(self, num_frames: int) -> bool:
        """Whether ``num_frames`` is legal."""
        if num_frames == 1 and self.takes_picture:
            return True
        return num_frames >= self.first and (num_frames - self.first) % self.step == 0

    def floor(self, num_frames: int) -> int | None:
        """Return the largest legal count that is at most ``num_frames``, or None."""
        if num_frames < self.first:
            return 1 if self.takes_picture and num_frames >= 1 else None
        return num_frames - (num_frames - self.first) % self.step

    def num_latent_frames(self, num_frames: int) -> int:
        """Return how many latent frames ``num_frames`` give.

        Raises:
            ValueError: ``num_frames`` is not legal.
        """
        if not self.admits(num_frames):
            raise ValueError(
                f"num_frames must be {self.text}, got {num_frames}; "
                f"use {self.floor(num_frames) or self.first}"
            )
        if num_frames < self.first:
            return 1
        return self.latent_first + (num_frames - self.first) // self.step * self.latent_step

    def latent_spans(self, num_frames: int) -> tuple[tuple[Fraction, Fraction], ...]:
        """Return the interval of frames that each latent frame stands for, [start, end).

        In frames from the clip's start, without gaps: ``1 + 4k`` frames give (0, 1), (1, 5),
        (5, 9) ... Latent frames of one group share it evenly, or as ``cycle`` says.

        Raises:
            ValueError: ``num_frames`` is not legal.
        """
        num_latents = self.num_latent_frames(num_frames)
        if num_frames < self.first:
            lengths = [Fraction(num_frames)]
        elif self.cycle:
            lengths = [Fraction(each) for each in islice(cycle(self.cycle), num_latents)]
        else:
            lengths = [Fraction(self.first, self.latent_first)] * self.latent_first
            lengths += [Fraction(self.step, self.latent_step)] * (num_latents - self.latent_first)
        ends = tuple(accumulate(lengths))
        return tuple(zip((Fraction(0), *ends[:-1]), ends, strict=True))
