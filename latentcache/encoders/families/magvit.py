"""``AutoencoderKLMagvit`` (EasyAnimate): the first frame, then four at a time.

The class keeps the tail of each convolution in the module and forgets it only where ``encode``
succeeds: after a failure every later clip is wrong or fails. Here the tails belong to the clip.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from latentcache.encoders.autoencoder import Family
from latentcache.encoders.frame_chunks import Fields, GroupCoder
from latentcache.encoders.posterior import gaussian_fields
from latentcache.encoders.published_normalizer import config_scale

Tails = dict[Any, torch.Tensor]


@dataclass(slots=True)
class MagvitCoder(GroupCoder):
    """Encodes groups, and lends the module the clip's tails for as long as one takes."""

    module: Any
    first_frames: int = field(default=1, init=False)
    group_frames: int = field(default=4, init=False)

    def start(self) -> Tails:
        """Return no tails."""
        return {}

    def encode_group(self, frames_BCTHW: torch.Tensor, state: Tails) -> Fields:
        """Return mean and log-variance of one latent frame."""
        convolutions = [
            part for part in self.module.encoder.modules() if hasattr(part, "prev_features")
        ]
        try:
            for part in convolutions:
                part.prev_features = state.get(part)
            hidden = self.module.encoder(frames_BCTHW)
            state.update((part, part.prev_features) for part in convolutions)
        finally:
            for part in convolutions:
                part.prev_features = None
        return gaussian_fields(self.module.quant_conv(hidden))


FAMILY = Family(read_normalizer=config_scale, make_coder=MagvitCoder)
