"""``AutoencoderKLHunyuanVideo``: whole clips, or diffusers' tiles in time if asked for.

Its group norm averages over the whole clip: every latent depends on every
frame, and the class hides that by cutting clips of more than 16 frames into overlapping
tiles, by default. Here clips are encoded whole unless ``tile_frames`` asks for tiles, which
then is part of the fingerprint: tiles of 33 frames differ from the whole by 0.7 of the
latents' scale (random weights, 2026-11-22).
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from latentcache.core.errors import ConfigError
from latentcache.encoders.autoencoder import DiffusersKnobs, Family
from latentcache.encoders.frame_chunks import Fields, GroupCoder
from latentcache.encoders.posterior import gaussian_fields
from latentcache.encoders.published_normalizer import config_scale
from latentcache.encoders.spec import PLAIN_SCALAR


@dataclass(frozen=True, slots=True, kw_only=True)
class HunyuanKnobs(DiffusersKnobs):
    """What a user may set of HunyuanVideo."""

    tile_frames: int = 0
    """Frames per tile in time, 16 in diffusers; tiles overlap by a quarter. 0: whole clips."""

    def __post_init__(self) -> None:
        if self.tile_frames < 0 or self.tile_frames % 16:
            raise ConfigError(
                f"tile_frames must be 0 or a multiple of 16, got {self.tile_frames} (hunyuan); "
                "use 16, as diffusers does"
            )


def set_tiles(module: Any, knobs: HunyuanKnobs) -> dict[str, PLAIN_SCALAR]:
    """Switch tiling in time on if it was asked for; return the knobs that say so."""
    if knobs.tile_frames:
        module.use_framewise_encoding = True
        module.tile_sample_min_num_frames = knobs.tile_frames
        module.tile_sample_stride_num_frames = knobs.tile_frames * 3 // 4
    return {"framewise": bool(knobs.tile_frames), "tile_frames": knobs.tile_frames}


@dataclass(slots=True)
class TileCoder(GroupCoder):
    """The class's own tiles in time, one by one: what it would do with the whole clip.

    A tile is ``tile_frames + 1`` frames; the next begins ``stride`` frames later. Source:
    ``AutoencoderKLHunyuanVideo._temporal_tiled_encode`` in diffusers.
    """

    module: Any
    first_frames: int = field(init=False)
    group_frames: int = field(init=False)

    def __post_init__(self) -> None:
        self.first_frames = self.module.tile_sample_min_num_frames + 1
        self.group_frames = self.module.tile_sample_stride_num_frames

    def start(self) -> dict[str, torch.Tensor]:
        """Return no overlap and no last tile."""
        return {}

    def encode_group(self, frames_BCTHW: torch.Tensor, state: dict[str, torch.Tensor]) -> Fields:
        """Return mean and log-variance of the part of a tile that no later one changes."""
        is_first = "frames" not in state
        if not is_first:
            frames_BCTHW = torch.cat([state["frames"], frames_BCTHW], dim=2)
        elif frames_BCTHW.shape[2] < self.first_frames:
            return gaussian_fields(self._moments(frames_BCTHW))  # too short to be tiled
        tile = self._moments(frames_BCTHW)
        if not is_first:
            overlap = (self.first_frames - 1 - self.group_frames) // self._factor
            tile = self.module.blend_t(state["tile"], tile[:, :, 1:], overlap)
        state["frames"] = frames_BCTHW[:, :, self.group_frames :].clone()
        state["tile"] = tile
        return gaussian_fields(tile[:, :, : self.group_frames // self._factor + is_first])

    def finish(self, state: dict[str, torch.Tensor]) -> Fields | None:
        """Return the tile of the frames that only the last tile has seen, if there are any."""
        if "frames" not in state or state["frames"].shape[2] <= 1:
            return None
        return self.encode_group(state["frames"][:, :, :0], state)

    @property
    def _factor(self) -> int:
        return int(self.module.temporal_compression_ratio)

    def _moments(self, frames_BCTHW: torch.Tensor) -> torch.Tensor:
        moments: torch.Tensor = self.module.quant_conv(self.module.encoder(frames_BCTHW))
        return moments


def tile_coder(module: Any) -> TileCoder | None:
    """Return what encodes tile by tile, if tiles were asked for."""
    return TileCoder(module) if module.use_framewise_encoding else None


FAMILY = Family(
    read_normalizer=config_scale,
    make_coder=tile_coder,
    knobs=HunyuanKnobs,
    set_knobs=set_tiles,
)
