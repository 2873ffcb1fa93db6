"""``AutoencoderKLTemporalDecoder`` (Stable Video Diffusion): an image VAE, frame by frame.

Only its decoder looks along time. Frames are encoded as a batch of images: the first one
alone, as an image would be, then eight at a time, so that memory does not grow with the
clip and a stream gives the bits of the whole.
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
class FrameCoder(GroupCoder):
    """Encodes frames as images; there is nothing to carry."""

    module: Any
    first_frames: int = field(default=1, init=False)
    group_frames: int = field(default=8, init=False)

    def start(self) -> None:
        """Return nothing."""

    def encode_group(self, frames_BCTHW: torch.Tensor, state: None) -> Fields:  # noqa: ARG002
        """Return mean and log-variance of each frame."""
        images = frames_BCTHW.transpose(1, 2).flatten(0, 1)
        moments = self.module.quant_conv(self.module.encoder(images))
        clips = moments.reshape(len(frames_BCTHW), -1, *moments.shape[1:]).transpose(1, 2)
        return gaussian_fields(clips)


def decode_frames(module: Any, latents_BCTHW: torch.Tensor) -> torch.Tensor:
    """Return pixels BCTHW: the class takes frames as a batch and must be told how many."""
    num_frames = latents_BCTHW.shape[2]
    images = latents_BCTHW.transpose(1, 2).flatten(0, 1)
    pixels: torch.Tensor = module.decode(images, num_frames=num_frames).sample
    return pixels.reshape(-1, num_frames, *pixels.shape[1:]).transpose(1, 2)


def svd_normalizer(model: LoadedModel) -> Normalizer:
    """Return ``z * scaling_factor``: 0.18215, Stable Diffusion 1's, also where none is given."""
    scale = model.config.get("scaling_factor")
    if scale is None:
        return scaled(0.18215, source="preset")
    return scaled(float(scale))


FAMILY = Family(
    read_normalizer=svd_normalizer,
    make_coder=FrameCoder,
    decode=decode_frames,
)
