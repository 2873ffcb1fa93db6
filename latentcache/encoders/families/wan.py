"""``AutoencoderKLWan`` (Wan 2.1, Wan 2.2 TI2V) and its copy ``AutoencoderKLQwenImage``.

The first frame alone, then four at a time, with the tail of every causal convolution
carried on: the model's own way through a clip, but with the tails in our hands instead of
in the module's attributes. Whole and streamed clips have the bits of ``module.encode``.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from latentcache.encoders.autoencoder import Family
from latentcache.encoders.frame_chunks import Fields, GroupCoder
from latentcache.encoders.posterior import gaussian_fields
from latentcache.encoders.published_normalizer import channel_figures, standardized
from latentcache.encoders.spec import Normalizer
from latentcache.encoders.weights import LoadedModel


@dataclass(slots=True)
class WanCoder(GroupCoder):
    """Encodes groups with one carried tail per causal convolution.

    Groups of eight would be faster and differ by 3e-7: the model's own groups are kept.
    """

    module: Any
    first_frames: int = field(default=1, init=False)
    group_frames: int = field(default=4, init=False)

    def start(self) -> list[torch.Tensor | None]:
        """Return an empty slot per causal convolution."""
        encoder = self.module.encoder
        causal_type = type(encoder.conv_in)
        return [None for part in encoder.modules() if isinstance(part, causal_type)]

    def encode_group(self, frames_BCTHW: torch.Tensor, state: list[torch.Tensor | None]) -> Fields:
        """Return mean and log-variance of one latent frame."""
        from diffusers.models.autoencoders.autoencoder_kl_wan import patchify  # noqa: PLC0415

        patch = self.module.config.get("patch_size")
        frames = frames_BCTHW
        if patch is not None:
            frames = patchify(frames, patch)  # type: ignore[no-untyped-call]  # not ours
        hidden = self.module.encoder(frames, feat_cache=state, feat_idx=[0])
        return gaussian_fields(self.module.quant_conv(hidden))


def wan_normalizer(model: LoadedModel) -> Normalizer | None:
    """Return ``(z - latents_mean) / latents_std``; None where the config has no figures."""
    figures = channel_figures(model)
    return None if figures is None else standardized(*figures[:2])


FAMILY = Family(read_normalizer=wan_normalizer, make_coder=WanCoder)
