"""``AutoencoderKLMiniMaxH3``: 24 channels, 16 px, clips of 17 frames that are encoded apart.

``17 * n + 5`` frames give ``5 * n + 2`` latent frames: each clip of 17 gives five, of 1, 4, 4, 4
and 4 frames, and the class drops the last three of all, which stand for copies of the last frame.
Pixels are those from 0 to 1, normalized by ImageNet's figures; -1 to 1 would be taken without a
word.

The class was released with tiles of 256 px on; they change the latents of larger pictures, by 0.2
at 320 px (random weights). Off here like all tiles, unless ``tile_px`` asks for them.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from latentcache.core.errors import ConfigError
from latentcache.encoders.autoencoder import DiffusersKnobs, Family
from latentcache.encoders.frame_chunks import Fields, GroupCoder
from latentcache.encoders.posterior import gaussian_fields
from latentcache.encoders.published_normalizer import channel_figures, standardized
from latentcache.encoders.spec import PLAIN_SCALAR, Normalizer
from latentcache.encoders.weights import LoadedModel

_CHUNK = 17
_TILE_PX = 256
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
"""ImageNet's; source: the docstring of the class and ``modular_pipelines/minimax_h3``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniMaxH3Knobs(DiffusersKnobs):
    """What a user may set of MiniMax-H3's VAE."""

    tile_px: int = 0
    """Edge of overlapping tiles, 256 as released; 0: whole frames."""

    def __post_init__(self) -> None:
        if self.tile_px not in (0, _TILE_PX):
            raise ConfigError(
                f"tile_px must be 0 or {_TILE_PX}, got {self.tile_px} (minimax-h3); use {_TILE_PX} "
                "for the tiles that the model was released with"
            )


def set_tiles(module: Any, knobs: MiniMaxH3Knobs) -> dict[str, PLAIN_SCALAR]:
    """Switch the class's tiles on if they were asked for; return the knobs that say so."""
    module.use_tiling = bool(knobs.tile_px)
    return {"tiling": bool(knobs.tile_px), "tile_px": knobs.tile_px, "pixels": "ImageNet"}


@dataclass(slots=True)
class ChunkCoder(GroupCoder):
    """Encodes 17 frames at a time; the last five as the class does, padded with the last frame."""

    module: Any
    first_frames: int = field(default=_CHUNK, init=False)
    group_frames: int = field(default=_CHUNK, init=False)

    def start(self) -> None:
        """Return nothing: chunks know nothing of each other."""

    def encode_group(self, frames_BCTHW: torch.Tensor, state: None) -> Fields:  # noqa: ARG002
        """Return mean and log-variance of five latent frames, or of fewer of a shorter chunk."""
        num_frames = frames_BCTHW.shape[2]
        frames = (frames_BCTHW - _per_channel(_MEAN, frames_BCTHW)) / _per_channel(
            _STD, frames_BCTHW
        )
        if num_frames == 1:
            return gaussian_fields(self.module._encode_clip(frames))
        padding = frames[:, :, -1:].repeat(1, 1, _CHUNK - num_frames, 1, 1)
        moments = self.module._encode_clip(torch.cat([frames, padding], dim=2))
        kept = moments.shape[2] - (self.module.config.token_drop if num_frames < _CHUNK else 0)
        return gaussian_fields(moments[:, :, :kept])


def _per_channel(values: tuple[float, ...], like: torch.Tensor) -> torch.Tensor:
    return like.new_tensor(values).view(1, -1, 1, 1, 1)


def decode_clip(module: Any, latents_BCTHW: torch.Tensor) -> torch.Tensor:
    """Return pixels from 0 to 1: the class decodes to those that ImageNet's figures normalize."""
    pixels: torch.Tensor = module.decode(latents_BCTHW).sample
    return pixels * _per_channel(_STD, pixels) + _per_channel(_MEAN, pixels)


def minimax_normalizer(model: LoadedModel) -> Normalizer | None:
    """Return ``(z - latents_mean) / latents_std``; None where config.json has no figures."""
    figures = channel_figures(model)
    return None if figures is None else standardized(*figures[:2])


FAMILY = Family(
    read_normalizer=minimax_normalizer,
    make_coder=ChunkCoder,
    decode=decode_clip,
    knobs=MiniMaxH3Knobs,
    set_knobs=set_tiles,
)
