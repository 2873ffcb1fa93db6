"""Latents as patches and as tokens: values change places, none is lost.

Dimension letters: B batch, C channels, T latent frames, H height, W width, N tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from latentcache.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Where the values of a sample go: dimensions are split, permuted and joined again.

    Attributes:
        before: Shape of a sample before.
        split: The same, its dimensions split.
        order: Which of those comes first, second ...
        after: Shape of a sample afterwards.
    """

    before: tuple[int, ...]
    split: tuple[int, ...]
    order: tuple[int, ...]
    after: tuple[int, ...]

    def view(self, latents: torch.Tensor) -> torch.Tensor:
        """Return latents in their new order, dimensions not joined yet; copies nothing."""
        parts = latents.reshape(len(latents), *self.split)
        return parts.permute(0, *(1 + at for at in self.order))

    def undo(self, latents: torch.Tensor) -> torch.Tensor:
        """Return what was arranged, contiguous."""
        sizes = [self.split[at] for at in self.order]
        back = np.argsort(self.order).tolist()
        parts = latents.reshape(len(latents), *sizes).permute(0, *(1 + at for at in back))
        return parts.reshape(len(latents), *self.before)


def patchify(shape: Sequence[int], size: int, axes: str = "CHW") -> Arrangement:
    """Return how patches of ``size`` x ``size`` cells become channels.

    Channel ``c`` at (y, x) of a patch becomes ``(c * size + y) * size + x``.

    Args:
        shape: Of a sample: C, H, W or C, T, H, W.
        size: Edge of a patch.
        axes: Order of the values within a patch; ``HWC`` is Ideogram's.

    Raises:
        ConfigError: Height or width do not divide.
    """
    channels, *frames, height, width = shape
    if height % size or width % size:
        raise ConfigError(
            f"size of patches must divide the latent's height and width, got {size} for "
            f"{(height, width)}; use another, or leave the bucket out"
        )
    grid = (*frames, height // size, width // size)
    split = (channels, *grid[:-1], size, grid[-1], size)
    inner = len(frames)
    within = {"C": 0, "H": inner + 2, "W": inner + 4}
    if sorted(axes) != sorted(within):
        raise ConfigError(f"axes of patchify must be C, H and W in any order, got {axes!r}")
    order = (*(within[letter] for letter in axes), *range(1, inner + 1), inner + 1, inner + 3)
    return Arrangement(tuple(shape), split, order, (channels * size * size, *grid))


def pack(shape: Sequence[int], axes: str, size: int) -> Arrangement:
    """Return how latents become tokens, N x C: patches row by row, frame after frame.

    A token holds what ``patchify`` makes the channels of its place, as FLUX packs them.

    Args:
        shape: Of a sample.
        axes: Letters of its dimensions.
        size: Edge of a token's patch.

    Raises:
        ConfigError: Dimensions are others, or do not divide.
    """
    if axes not in ("CHW", "CTHW"):
        raise ConfigError(
            f"latents must be CHW or CTHW to be packed, got {axes}; pack before they are permuted"
        )
    patches = patchify(shape, size)
    order = (*patches.order[3:], *patches.order[:3])
    after = (math.prod(patches.after[1:]), patches.after[0])
    return Arrangement(patches.before, patches.split, order, after)


def permute(shape: Sequence[int], axes: str, wanted: str) -> Arrangement:
    """Return how dimensions change places.

    Args:
        shape: Of a sample.
        axes: Letters of its dimensions.
        wanted: The same letters in another order.

    Raises:
        ConfigError: They are not the same.
    """
    if sorted(wanted) != sorted(axes):
        raise ConfigError(
            f"axes of permute must be those of the latent, {axes}, got {wanted}; name each once"
        )
    order = tuple(axes.index(letter) for letter in wanted)
    sizes = tuple(shape)
    return Arrangement(sizes, sizes, order, tuple(sizes[at] for at in order))
