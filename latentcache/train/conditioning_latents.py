"""Latents that a model is given beside the noisy ones: a clip's first frame, for image-to-video.

Laid out as Wan's image-to-video models take them: a mask that is 1 where a frame is given, then
the given latents, joined to the noisy ones as channels. Source: diffusers,
``WanImageToVideoPipeline.prepare_latents``.

Dimension letters: B batch, C channels, T latent frames, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from latentcache.core.errors import ConfigError
from latentcache.loader import Normalizer


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditioningLatents:
    """Which column is given beside the latents.

    Attributes:
        column: Of the batch: latents of first frames, alone or followed by encoded zeros.
        channels: That the model takes beside the noisy ones; what the column does not fill is
            the mask's.
        normalizer: Of the latents; one encoder made both.
    """

    column: str
    channels: int
    normalizer: Normalizer

    def read(self, batch: Mapping[str, Any], latents: Tensor) -> Tensor:
        """Return what is given, float32 [B, channels, ...] of the size of ``latents``.

        A picture, which would be given whole, is trained with nothing given; so is a window
        that begins after its clip's first frame, but for the encoded zeros there.

        Raises:
            ConfigError: The batch has no such column, or its latents do not fit.
        """
        if self.column not in batch:
            raise ConfigError(
                f"condition_latents must be a column that the loader reads, got {self.column!r} "
                f"among {', '.join(batch)}; add it to the loader's columns"
            )
        given = batch[self.column]
        is_fitting = isinstance(given, Tensor) and given.ndim == latents.ndim
        sizes = given.shape[2:] if is_fitting else ()
        if not is_fitting or sizes not in (latents.shape[2:], (1, *latents.shape[3:])):
            got = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise ConfigError(
                f"{self.column} must be latents of the size of those that are trained on, "
                f"{tuple(latents.shape)}, or of one frame of them, got {got}; encode it with "
                f"--input first_frame+zeros"
            )
        conditioning_latents = latents.new_zeros((len(latents), self.channels, *latents.shape[2:]))
        if latents.ndim == 4 or latents.shape[2] == 1:
            return conditioning_latents
        num_mask = self.channels - given.shape[1]
        starts = batch.get("window_start")
        is_first = torch.ones(len(latents)) if starts is None else (starts == 0).to(torch.float32)
        is_first = is_first.to(latents.device)[:, None, None, None]
        conditioning_latents[:, :num_mask, 0] = is_first
        normal = self._normal(given.to(latents.device), starts)
        if given.shape[2] == 1:
            conditioning_latents[:, num_mask:, 0] = normal[:, :, 0] * is_first
        else:
            conditioning_latents[:, num_mask:] = normal
        return conditioning_latents

    def _normal(self, given: Tensor, starts: Tensor | None) -> Tensor:
        if not self.normalizer.ops:
            return given.to(torch.float32)
        fused = self.normalizer.fused(given.shape[1:], given.device)
        out = given.new_empty((len(given), *fused.shape), dtype=torch.float32)
        if starts is None or given.shape[2] == 1:
            return fused.write(given, out)
        return fused.write(given, out, starts.to(given.device))


def concatenated(
    clips: Tensor, conditioning_latents: Tensor | None, patch: tuple[int, ...]
) -> Tensor:
    """Return latents [B, C, T, H, W] with what is given beside them as more channels.

    With zeros after them, so that the patch, in (T, H, W), divides them.
    """
    if conditioning_latents is not None:
        given = conditioning_latents.reshape(len(clips), -1, *clips.shape[2:])
        clips = torch.cat([clips, given.to(clips.dtype)], 1)
    after: list[int] = []
    for size, cells in zip(reversed(clips.shape[2:]), reversed(patch), strict=True):
        after += [0, -size % cells]
    return F.pad(clips, after) if any(after) else clips


def find_conditioning_latents(
    model: Any, column: str | None, shapes: Mapping[str, tuple[int, ...]], normalizer: Normalizer
) -> ConditioningLatents | None:
    """Return what a model is given beside noisy latents, or None.

    Args:
        model: Takes ``conditioning_channels`` more channels, if it has that attribute.
        column: That fills them; None for no column.
        shapes: Of the loader's columns in a batch.
        normalizer: Of the latents.

    Raises:
        ConfigError: Model and column do not fit.
    """
    channels = int(getattr(model, "conditioning_channels", 0))
    if column is None and not channels:
        return None
    num_given = shapes[column][1] if column is not None and column in shapes else 0
    if column is None or not num_given or num_given > channels:
        raise ConfigError(
            f"condition_latents must be an encoded column of at most the {channels} channels that "
            f"the model takes beside the noisy ones, got {column!r} of {num_given}; encode one "
            f"with --input first_frame+zeros, and build the model for it"
        )
    return ConditioningLatents(column=column, channels=channels, normalizer=normalizer)
