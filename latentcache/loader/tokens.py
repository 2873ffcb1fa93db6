"""Latents as patches and as tokens: values change places, none is lost.

Dimension letters: B batch, C channels, T latent frames, H height, W width, N tokens.
"""

from collections.abc import Sequence

import torch

from latentcache.core.errors import ConfigError


def patchify(latents: torch.Tensor, size: int) -> torch.Tensor:
    """Return latents whose patches of ``size`` x ``size`` cells have become channels.

    Channel ``c`` at (y, x) of a patch becomes ``(c * size + y) * size + x``.

    Raises:
        ConfigError: Height or width do not divide.
    """
    if latents.shape[-2] % size or latents.shape[-1] % size:
        raise ConfigError(
            f"size of patches must divide the latent's height and width, got {size} for "
            f"{tuple(latents.shape[-2:])}; use another, or leave the bucket out"
        )
    if latents.ndim == 4:
        return torch.nn.functional.pixel_unshuffle(latents, size)
    frames = torch.nn.functional.pixel_unshuffle(latents.transpose(1, 2).flatten(0, 1), size)
    return frames.reshape(latents.shape[0], -1, *frames.shape[1:]).transpose(1, 2)


def unpatchify(latents: torch.Tensor, size: int) -> torch.Tensor:
    """Return what ``patchify`` was given."""
    if latents.ndim == 4:
        return torch.nn.functional.pixel_shuffle(latents, size)
    frames = torch.nn.functional.pixel_shuffle(latents.transpose(1, 2).flatten(0, 1), size)
    return frames.reshape(latents.shape[0], -1, *frames.shape[1:]).transpose(1, 2)


def pack(latents: torch.Tensor, axes: str, size: int) -> torch.Tensor:
    """Return latents as tokens, BNC: patches row by row, frame after frame.

    A token holds what ``patchify`` makes the channels of its place, as FLUX packs them.

    Args:
        latents: BCHW or BCTHW.
        axes: Letters of the dimensions after B.
        size: Edge of a token's patch.

    Raises:
        ConfigError: Dimensions are others, or do not divide.
    """
    if axes not in ("CHW", "CTHW"):
        raise ConfigError(
            f"latents must be CHW or CTHW to be packed, got {axes}; pack before they are permuted"
        )
    return patchify(latents, size).flatten(2).transpose(1, 2)


def unpack(tokens_BNC: torch.Tensor, shape: Sequence[int], size: int) -> torch.Tensor:
    """Return what ``pack`` was given: latents whose samples have ``shape``."""
    channels, *frames, height, width = shape
    grid = (*frames, height // size, width // size)
    patches = tokens_BNC.transpose(1, 2).reshape(-1, channels * size * size, *grid)
    return unpatchify(patches, size)
