"""Mochi is whole, in the model's bits, normalized per channel."""

from collections.abc import Callable
from typing import Any

import torch

from latentcache.encoders.autoencoder import Autoencoder
from latentcache.testing.normalizing import normalize

TinyVideo = Callable[..., tuple[Autoencoder, Any]]
Clip = Callable[..., torch.Tensor]
Encode = Callable[..., dict[str, torch.Tensor]]


def test_latents_and_normalization_are_those_of_the_model(
    tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, model = tiny_video("mochi")
    assert encoder.spec.normalizer is not None
    with torch.inference_mode():
        posterior = model.encode(clip(7)).latent_dist
    latents = encode(encoder, clip(7))["mean"]
    assert torch.equal(latents, posterior.mean)
    scores = normalize(latents.double(), encoder.spec.normalizer.ops, "CTHW")
    mean, std = (
        torch.tensor(model.config[f"latents_{key}"]).double().view(1, 12, 1, 1, 1)
        for key in ("mean", "std")
    )
    # The inverse of what diffusers' pipeline_mochi.py does before it decodes.
    assert torch.allclose(scores * std / model.config.scaling_factor + mean, latents.double())
