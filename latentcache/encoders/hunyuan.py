"""``AutoencoderKLHunyuanVideo`` and ``AutoencoderKLHunyuanVideo15``.

The first one's group norm averages over the whole clip: every latent depends on every
frame, and the class hides that by cutting clips of more than 16 frames into overlapping
tiles, by default. Here clips are encoded whole unless ``tile_frames`` asks for tiles, which
then is part of the fingerprint: tiles of 33 frames differ from the whole by 0.7 of the
latents' scale (random weights, 2026-11-22).
"""

from dataclasses import dataclass
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.encoders.diffusers_encoder import DiffusersKnobs
from latentcache.encoders.options import EncoderOptions
from latentcache.encoders.published import scaled
from latentcache.encoders.spec import PLAIN_SCALAR, Normalizer
from latentcache.encoders.video_encoder import (
    VideoEncoder,
    VideoFamily,
    build_video_encoder,
    pin_whole,
)
from latentcache.encoders.weights import LoadedModel


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


def pin_hunyuan(module: Any, knobs: HunyuanKnobs) -> dict[str, PLAIN_SCALAR]:
    """Switch off all tiling but the one in time that was asked for; return the knobs."""
    recorded = pin_whole(module, knobs)
    if knobs.tile_frames:
        module.use_framewise_encoding = True
        module.tile_sample_min_num_frames = knobs.tile_frames
        module.tile_sample_stride_num_frames = knobs.tile_frames * 3 // 4
    return {**recorded, "framewise": bool(knobs.tile_frames), "tile_frames": knobs.tile_frames}


def hunyuan_normalizer(model: LoadedModel) -> Normalizer | None:
    """Return ``z * scaling_factor``: 0.476986 for HunyuanVideo, 1.03682 for 1.5."""
    scale = model.config.get("scaling_factor")
    return None if scale is None else scaled(float(scale))


HUNYUAN = VideoFamily(
    class_name="AutoencoderKLHunyuanVideo",
    read_normalizer=hunyuan_normalizer,
    knobs=HunyuanKnobs,
    pin=pin_hunyuan,
)

HUNYUAN15 = VideoFamily(
    class_name="AutoencoderKLHunyuanVideo15", read_normalizer=hunyuan_normalizer
)


def load_hunyuan(options: EncoderOptions) -> VideoEncoder:
    """Return the ``AutoencoderKLHunyuanVideo`` at ``options.location``."""
    return build_video_encoder("hunyuan", HUNYUAN, options)


def load_hunyuan15(options: EncoderOptions) -> VideoEncoder:
    """Return the ``AutoencoderKLHunyuanVideo15`` at ``options.location``."""
    return build_video_encoder("hunyuan15", HUNYUAN15, options)
