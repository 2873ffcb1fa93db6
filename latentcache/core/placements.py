"""Placements: the rows that one sample has in a plan, by resolution, crop and flip.

Every placement has a key of its own that follows from the sample's key and from what the placement
is, never from how many there are: placements that a plan takes in later leave keys as they were.
"""

from dataclasses import dataclass
from hashlib import blake2b

CROP_FRACTIONS = (
    *((1, 2), (0, 1), (1, 1), (1, 4), (3, 4)),
    *((1, 8), (7, 8), (3, 8), (5, 8)),
)
"""Where crops lie in what the bucket leaves over: the middle, the two ends, then between. A crop's
place depends on its number alone."""

MIN_CROP_SHIFT_PX = 8
"""A crop that lies nearer to an earlier one shows the same: one cell of most latents."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Placement:
    """One way to cut a sample.

    Attributes:
        resolution_px: Pixel budget of its bucket: at most its square.
        crop_index: Into ``CROP_FRACTIONS``; 0 is the centre.
        is_flipped: Mirrored, left for right.
    """

    resolution_px: int
    crop_index: int = 0
    is_flipped: bool = False

    @property
    def label(self) -> str:
        """As people read it: ``512 px, crop 2, mirrored``."""
        crop = f", crop {self.crop_index + 1}" if self.crop_index else ""
        return f"{self.resolution_px} px{crop}{', mirrored' if self.is_flipped else ''}"

    def key(self, sample_key: str, *, first_resolution_px: int) -> str:
        """Return the 20 hex digits that name this placement of a sample for ever.

        Args:
            sample_key: Of the sample, which is the key of its centre crop, not mirrored, at the
                plan's first resolution.
            first_resolution_px: Which that is.
        """
        words = []
        if self.resolution_px != first_resolution_px:
            words.append(f"{self.resolution_px}px")
        if self.crop_index:
            words.append(f"crop{self.crop_index}")
        if self.is_flipped:
            words.append("flipped")
        if not words:
            return sample_key
        return blake2b("\0".join((sample_key, *words)).encode(), digest_size=10).hexdigest()


def crop_start(slack_px: int, crop_index: int) -> int:
    """Return where a crop begins in what the bucket leaves over of one side."""
    numerator, denominator = CROP_FRACTIONS[crop_index]
    return slack_px * numerator // denominator
