"""An image VAE frame by frame: every latent is that of its frame as an image."""

from collections.abc import Callable
from typing import Any

import torch

from latentcache.encoders.autoencoder import Autoencoder
from latentcache.testing.normalizing import normalize

TinyVideo = Callable[..., tuple[Autoencoder, Any]]
Clip = Callable[..., torch.Tensor]
Encode = Callable[..., dict[str, torch.Tensor]]


def test_latents_are_those_of_the_model(tiny_video: TinyVideo, clip: Clip, encode: Encode) -> None:
    encoder, model = tiny_video("svd")
    with torch.inference_mode():
        posterior = model.encode(clip(11)[0].transpose(0, 1)).latent_dist
    mean = encode(encoder, clip(11))["mean"][0]
    assert torch.allclose(mean, posterior.mean.transpose(0, 1), atol=1e-5)


def test_short_last_group_comes_out_at_the_end(
    tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, _ = tiny_video("svd")
    stream = encoder.open(32, 64)
    parts = [stream.push(clip(11)[0]), stream.close()]
    assert [part["mean"].shape[1] for part in parts if part] == [9, 2]
    streamed = torch.cat([part["mean"] for part in parts if part], dim=1)
    assert torch.equal(streamed, encode(encoder, clip(11))["mean"][0])


def test_normalized_by_the_factor_of_stable_diffusion(tiny_video: TinyVideo) -> None:
    normalizer = tiny_video("svd")[0].spec.normalizer
    assert normalizer is not None
    ones = torch.ones(1, 4, 1, 1, 1)
    assert torch.allclose(normalize(ones, normalizer.ops, "CTHW"), ones * 0.18215)
