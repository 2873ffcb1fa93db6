"""Statistics of one unit, accumulated batch by batch in row order.

Same batches in the same order give the same bytes, whatever the arrays' memory layout and
the number of BLAS threads; only ``exp`` in the posterior sums is the CPU's own.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from latentcache.core.fields import STATISTICS_FIELDS, Field
from latentcache.stats.accumulate import LatentAccumulator
from latentcache.stats.channel_axis import (
    FRAME_CLASSES,
    FrameClass,
    num_latent_frames,
    split_frames,
)
from latentcache.stats.codes import CodeUsage
from latentcache.stats.covariance import MAX_COVARIANCE_CHANNELS
from latentcache.stats.latents import LatentStatistics

_SKIPPED_KINDS = frozenset({"logvar", "std"})
"""The spread of a posterior is reported as such, beside its mean."""


_Frames = dict[FrameClass, NDArray[np.generic]]


class UnitStatistics:
    """Accumulates the statistics of one unit.

    Args:
        fields: Stored fields.
        posterior: Kind of posterior, as in the encoder's spec; only the ``gaussian`` ones
            take a log-variance.
        patch_size: Edge of the patch that the published normalizer packs into channels
            (2 for FLUX.2), 1 without; adds moments per packed channel.
        pixels_per_sample: T * H * W of the unit's bucket, for KL per pixel; 0 = leave out.
        max_covariance_channels: Wider fields keep no channel covariance.
        has_positions: Keep moments of the primary field per position too.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        posterior: str,
        *,
        patch_size: int = 1,
        pixels_per_sample: int = 0,
        max_covariance_channels: int = MAX_COVARIANCE_CHANNELS,
        has_positions: bool = False,
    ) -> None:
        self._fields = [field for field in fields if field.kind not in _SKIPPED_KINDS]
        self._primary = primary_field([field.name for field in self._fields])
        self._logvar = next((field for field in fields if field.kind == "logvar"), None)
        self._has_posterior = posterior.startswith("gaussian")
        self._patch_size = patch_size
        self._pixels_per_sample = pixels_per_sample
        self._max_covariance_channels = max_covariance_channels
        self._has_positions = has_positions
        self._latents: dict[tuple[str, FrameClass], LatentAccumulator] = {}
        self._codes: dict[tuple[str, FrameClass], CodeUsage] = {}
        self._begun: set[tuple[str, FrameClass]] = set()

    def add(
        self,
        stored: Mapping[str, NDArray[np.generic]],
        posterior_logvar: NDArray[np.float32] | None = None,
        posterior_mean: NDArray[np.float32] | None = None,
        *,
        is_continued: bool = False,
        num_samples: int | None = None,
    ) -> None:
        """Add the kept rows of one batch, or further latent frames of the same rows.

        Args:
            stored: Fields (B, *axes) as stored, rounded to the storage dtype, in float32.
            posterior_logvar: Log-variance with the primary field's axes, C of size 1 where
                it is shared. Default: the stored ``logvar``, if there is one.
            posterior_mean: Posterior mean where the stored field is a draw. Without it the
                KL is estimated from the draws: without bias, as ``E[z^2] = mu^2 + sigma^2``.
            is_continued: These are the latent frames that follow those added last, of the
                same samples: none of them is a first one.
            num_samples: How many samples the one row holds that they are joined in, along an axis
                that is no channel's; default: each row is a sample.

        Raises:
            ValueError: The encoder has no Gaussian posterior, or axes do not fit.
        """
        if posterior_logvar is not None and not self._has_posterior:
            raise ValueError(
                f"posterior_logvar must be None without a gaussian posterior, got shape "
                f"{posterior_logvar.shape}; declare the posterior in the encoder's spec"
            )
        if posterior_logvar is None and self._has_posterior and self._logvar is not None:
            posterior_logvar = stored[self._logvar.name].astype(np.float32, copy=False)
        if not is_continued:
            self._begun.clear()
        for field in self._fields:
            values = stored[field.name]
            if values.size == 0:
                continue
            split = partial(split_frames, field=field, is_continued=is_continued)
            if field.kind == "indices":
                self._add_codes(field, split(values))
                continue
            of_posterior: list[_Frames] = [{}, {}]
            if field.name == self._primary and self._has_posterior:
                told = (posterior_logvar, posterior_mean)
                of_posterior = [{} if each is None else split(each) for each in told]
            self._add_latents(field, split(values), *of_posterior, joined=num_samples)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return ``stats.<field>.<class>.<name>`` arrays; nothing for what was never seen."""
        arrays: dict[str, NDArray[np.generic]] = {}
        for field in self._fields:
            for name in FRAME_CLASSES:
                key = (field.name, name)
                part: LatentStatistics | CodeUsage | None = self._codes.get(key)
                if key in self._latents:
                    part = self._latents[key].result()
                if part is not None:
                    prefix = f"stats.{field.name}.{name}."
                    arrays |= {prefix + item: array for item, array in part.arrays().items()}
        return arrays

    def _add_codes(self, field: Field, classes: _Frames) -> None:
        for name, codes in classes.items():
            num_samples = self._num_new_samples((field.name, name), codes.shape[0])
            usage = CodeUsage.from_indices(codes, num_samples=num_samples)
            known = self._codes.get((field.name, name))
            self._codes[field.name, name] = usage if known is None else known.merge(usage)

    def _add_latents(
        self,
        field: Field,
        classes: _Frames,
        logvars: _Frames,
        means: _Frames,
        *,
        joined: int | None = None,
    ) -> None:
        for name, frames in classes.items():
            accumulator = self._accumulator(field, name, frames.shape[1])
            num_rows = frames.shape[0] if joined is None else joined
            num_samples = self._num_new_samples((field.name, name), num_rows)
            num_frames = num_latent_frames(frames, field) if joined is None else joined
            accumulator.add(frames, num_frames, num_samples=num_samples)
            if name in logvars:
                is_drawn = field.kind == "sample" and name not in means
                accumulator.add_posterior(logvars[name], means.get(name), is_drawn=is_drawn)

    def _num_new_samples(self, key: tuple[str, FrameClass], num_samples: int) -> int:
        """Return how many of a batch's samples have no frame of this class counted yet."""
        is_new = key not in self._begun
        self._begun.add(key)
        return num_samples if is_new else 0

    def _accumulator(self, field: Field, name: FrameClass, num_channels: int) -> LatentAccumulator:
        key = (field.name, name)
        if key not in self._latents:
            is_primary = field.name == self._primary
            self._latents[key] = LatentAccumulator(
                num_channels,
                patch_size=self._patch_size if is_primary else 1,
                pixels_per_sample=self._pixels_per_sample if name == "first" else 0,
                has_covariance=num_channels <= self._max_covariance_channels,
                has_positions=self._has_positions and is_primary,
            )
        return self._latents[key]


def primary_field(names: Sequence[str]) -> str | None:
    """Return the field that statistics and normalization speak of, or None without one."""
    return next((name for name in STATISTICS_FIELDS if name in names), None)
