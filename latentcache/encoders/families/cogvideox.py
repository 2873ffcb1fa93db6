"""``AutoencoderKLCogVideoX``: nine frames, then eight at a time, with carried convolutions.

Its group norm averages over the frames it is given, so the groups are part of the model:
other groups give other values, and a single image is not the first frame of a clip. With
``1 + 8k`` frames the model's own groups are those of a stream.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from latentcache.encoders.autoencoder import Family
from latentcache.encoders.frame_chunks import Fields, GroupCoder
from latentcache.encoders.posterior import gaussian_fields
from latentcache.encoders.published_normalizer import scaled
from latentcache.encoders.spec import Normalizer
from latentcache.encoders.weights import LoadedModel


@dataclass(slots=True)
class CogVideoXCoder(GroupCoder):
    """Encodes groups with the cache that the model returns and takes back."""

    module: Any
    first_frames: int = field(default=9, init=False)
    group_frames: int = field(default=8, init=False)

    def start(self) -> dict[str, Any]:
        """Return no cache."""
        return {}

    def encode_group(self, frames_BCTHW: torch.Tensor, state: dict[str, Any]) -> Fields:
        """Return mean and log-variance of two latent frames (three of nine, one of one)."""
        hidden, state["cache"] = self.module.encoder(frames_BCTHW, conv_cache=state.get("cache"))
        if self.module.quant_conv is not None:
            hidden = self.module.quant_conv(hidden)
        return gaussian_fields(hidden)


def cogvideox_normalizer(model: LoadedModel) -> Normalizer | None:
    """Return ``z * scaling_factor``, or ``z / scaling_factor`` for CogVideoX 1.5 I2V.

    The DiT of diffusers takes (B, T, C, H, W); latents are stored CTHW like all others.
    """
    scale = model.config.get("scaling_factor")
    if scale is None:
        return None
    is_inverted = bool(model.config.get("invert_scale_latents"))
    return scaled(1.0 / float(scale) if is_inverted else float(scale))


FAMILY = Family(
    read_normalizer=cogvideox_normalizer,
    make_coder=CogVideoXCoder,
)
