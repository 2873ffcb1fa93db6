"""Wan's bits are those of the model; a stream holds one tail per convolution."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from latentcache.encoders.autoencoder import Autoencoder
from latentcache.testing.normalizing import normalize

TinyVideo = Callable[..., tuple[Autoencoder, Any]]
Clip = Callable[..., torch.Tensor]
Encode = Callable[..., dict[str, torch.Tensor]]


@pytest.mark.parametrize("name", ["wan", "wan22", "qwen"])
def test_latents_are_those_of_the_model(
    name: str, tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, model = tiny_video(name)
    with torch.inference_mode():
        posterior = model.encode(clip(13)).latent_dist
    fields = encode(encoder, clip(13))
    assert torch.equal(fields["mean"], posterior.mean)
    assert torch.equal(fields["logvar"], posterior.logvar)


def test_state_does_not_grow_with_the_clip(tiny_video: TinyVideo, clip: Clip) -> None:
    stream = tiny_video("wan")[0].open(32, 64)
    sizes = []
    for frames in clip(41)[0].split(4, dim=1):
        stream.push(frames)
        tails = [tail for tail in stream._state if tail is not None]
        sizes.append(sum(tail.untyped_storage().nbytes() for tail in tails))
    assert len(set(sizes[2:])) == 1


def test_normalized_as_the_pipeline_does(tiny_video: TinyVideo, clip: Clip, encode: Encode) -> None:
    mean, std = [c / 16 for c in range(16)], [1 + c / 16 for c in range(16)]
    encoder, _ = tiny_video("wan", latents_mean=mean, latents_std=std)
    assert encoder.spec.normalizer is not None
    latents = encode(encoder, clip(5))["mean"].double()
    scores = normalize(latents, encoder.spec.normalizer.ops, "CTHW")
    # As diffusers' pipeline_wan_i2v.py does it: its "latents_std" is 1 / std.
    inverse = 1.0 / torch.tensor(std).double().view(1, 16, 1, 1, 1)
    expected = (latents - torch.tensor(mean).double().view(1, 16, 1, 1, 1)) * inverse
    assert torch.allclose(scores, expected)
