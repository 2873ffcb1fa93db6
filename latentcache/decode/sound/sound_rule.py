"""How sound is made: rate, channels and mix, written out, so that nothing is a library's default.

A mixing matrix is ours because a library's depends on the output's format: swresample mixes stereo
to mono by 0.7071 (L + R) for floats and by 0.5 for integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from latentcache.core.errors import ConfigError

RULE_VERSION = 1

_HALF_POWER = 0.5**0.5
_TO_STEREO: Mapping[str, tuple[float, float]] = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (_HALF_POWER, _HALF_POWER),
    "BL": (_HALF_POWER, 0.0),
    "BR": (0.0, _HALF_POWER),
    "SL": (_HALF_POWER, 0.0),
    "SR": (0.0, _HALF_POWER),
    "BC": (0.5, 0.5),
    "LFE": (0.0, 0.0),
    "DL": (1.0, 0.0),
    "DR": (0.0, 1.0),
    "FLC": (1.0, 0.0),
    "FRC": (0.0, 1.0),
}
"""Left and right of each named channel, before the weights of a side are made to sum to 1.
Source of the weights: ITU-R BS.775-3, annex 4; the low-frequency channel is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundRule:
    """What becomes of a window's sound.

    Attributes:
        rate_hz: Samples a second and channel.
        channels: 1 or 2. One is the mean of both sides; one that is to be two is copied.
    """

    rate_hz: int
    channels: int

    def __post_init__(self) -> None:
        if not 1000 <= self.rate_hz <= 384_000:
            raise ConfigError(f"rate_hz must be 1,000 to 384,000, got {self.rate_hz}")
        if self.channels not in (1, 2):
            raise ConfigError(f"channels must be 1 or 2, got {self.channels}")

    def identity(self) -> dict[str, Any]:
        """Return what can change a sample's value, the decoder's version with it."""
        return {
            "version": RULE_VERSION,
            "rate_hz": self.rate_hz,
            "channels": self.channels,
            "resampler": "swresample",
            "ffmpeg": av.ffmpeg_version_info,
        }

    def num_samples(self, duration_s: float) -> int:
        """Return how many samples a window has, whatever a resampler would round to."""
        return round(duration_s * self.rate_hz)


def mixing_matrix(channels: Sequence[str], num_out: int) -> NDArray[np.float32] | None:
    """Return weights [num_out, num_in]; None of a layout that is not known.

    The weights of a side sum to 1: full scale in all channels is full scale, and nothing clips.

    Args:
        channels: Names of what comes in, as FFmpeg has them, in its order.
        num_out: 1 or 2.
    """
    if list(channels) == ["FC"]:  # mono, on both sides as loud as it was
        return np.ones((num_out, 1), np.float32)
    if any(name not in _TO_STEREO for name in channels):
        return None
    sides = np.array([_TO_STEREO[name] for name in channels]).T
    totals = sides.sum(axis=1, keepdims=True)
    if (totals == 0).any():
        return None
    sides = sides / totals
    matrix = sides if num_out == 2 else sides.mean(axis=0, keepdims=True)
    found: NDArray[np.float32] = matrix.astype(np.float32)
    return found
