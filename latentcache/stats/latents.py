"""All statistics of one field and class of latent frames, mergeable as one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from latentcache.stats.covariance import Comoments
from latentcache.stats.histogram import Histogram
from latentcache.stats.moments import Arrays, Floats, Moments, divide
from latentcache.stats.positions import (
    Positions,
    merge_positions,
    position_arrays,
    read_positions,
)
from latentcache.stats.posterior_moments import PosteriorSums


class _Mergeable(Protocol):
    def merge(self, other: Self, /) -> Self: ...


_Part = TypeVar("_Part", bound=_Mergeable)

SAMPLED_FIELD = "sample"
"""A field of this name holds draws, so its variance has the posterior's in it already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentStatistics:
    """Statistics of one float field, for one class of latent frames or for all.

    Attributes:
        num_samples: Samples with frames of this class.
        num_frames: Latent frames; samples without a time axis count as one.
        num_pixels: Pixels (T * H * W) of the samples, with the first frame; 0 = not told.
        moments: Per channel, over stored values.
        histogram: Per channel.
        covariance: Between channels; None where the field is too wide.
        packed: Moments per patchified channel, in ``pixel_unshuffle`` order, or None.
        posterior: Posterior variance and KL, or None without a posterior.
        positions: Moments per channel and position, by grid; {} but for vision features.
    """

    num_samples: int
    num_frames: int
    num_pixels: int
    moments: Moments
    histogram: Histogram
    covariance: Comoments | None = None
    packed: Moments | None = None
    posterior: PosteriorSums | None = None
    positions: Positions = field(default_factory=dict)

    @property
    def posterior_variance(self) -> Floats | None:
        """E[sigma^2] per channel, or None."""
        return None if self.posterior is None else self.posterior.variance

    @property
    def kl_nats_per_frame(self) -> float | None:
        """Mean KL of a latent frame, summed over channels, height and width."""
        if self.posterior is None or self.num_frames == 0:
            return None
        return self.posterior.kl_nats / self.num_frames

    @property
    def kl_nats_per_pixel(self) -> float | None:
        """Mean KL per pixel of the source; only the pooled view has all of both."""
        if self.posterior is None or self.num_pixels == 0:
            return None
        return self.posterior.kl_nats / self.num_pixels

    def latent_variance(self, *, is_sampled: bool) -> Floats:
        """Return Var[z] per channel for z drawn from the posterior.

        ``Var[z] = Var[mu] + E[sigma^2]`` (law of total variance). Without a posterior, or
        where draws were stored, it is the variance of what is stored.
        """
        variance = self.moments.variance
        if self.posterior is None or is_sampled:
            return variance
        return variance + self.posterior.variance

    def noise_fraction(self, *, is_sampled: bool) -> Floats | None:
        """Return ``E[sigma^2] / Var[z]`` per channel: 1 is a channel of noise only."""
        if self.posterior is None:
            return None
        return divide(self.posterior.variance, self.latent_variance(is_sampled=is_sampled))

    def merge(self, other: "LatentStatistics") -> "LatentStatistics":
        """Return the statistics of both together."""
        return LatentStatistics(
            num_samples=self.num_samples + other.num_samples,
            num_frames=self.num_frames + other.num_frames,
            num_pixels=self.num_pixels + other.num_pixels,
            moments=self.moments.merge(other.moments),
            histogram=self.histogram.merge(other.histogram),
            covariance=merge_present(self.covariance, other.covariance),
            packed=merge_present(self.packed, other.packed),
            posterior=merge_present(self.posterior, other.posterior),
            positions=merge_positions(self.positions, other.positions),
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays by name."""
        counts = {
            "num_samples": self.num_samples,
            "num_frames": self.num_frames,
            "num_pixels": self.num_pixels,
        }
        arrays: dict[str, NDArray[np.generic]] = {
            name: np.array([number], dtype=np.int64) for name, number in counts.items()
        }
        arrays |= self.moments.arrays() | self.histogram.arrays()
        if self.packed is not None:
            arrays |= self.packed.arrays("packed_")
        if self.covariance is not None:
            arrays |= self.covariance.arrays()
        if self.posterior is not None:
            arrays |= self.posterior.arrays()
        return arrays | position_arrays(self.positions)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "LatentStatistics":
        """Return what ``arrays`` wrote."""
        return cls(
            num_samples=int(arrays["num_samples"].astype(np.int64)[0]),
            num_frames=int(arrays["num_frames"].astype(np.int64)[0]),
            num_pixels=int(arrays["num_pixels"].astype(np.int64)[0]),
            moments=Moments.from_arrays(arrays),
            histogram=Histogram.from_arrays(arrays),
            covariance=_read_if("covariance_m2", arrays, Comoments.from_arrays),
            packed=_read_if("packed_m2", arrays, lambda a: Moments.from_arrays(a, "packed_")),
            posterior=_read_if("posterior_count", arrays, PosteriorSums.from_arrays),
            positions=read_positions(arrays),
        )


def merge_present(ours: _Part | None, theirs: _Part | None) -> _Part | None:
    """Return both merged, or the one there is."""
    if ours is None or theirs is None:
        return theirs if ours is None else ours
    return ours.merge(theirs)


def _read_if(name: str, arrays: Arrays, read: Callable[[Arrays], _Part]) -> _Part | None:
    return read(arrays) if name in arrays else None
