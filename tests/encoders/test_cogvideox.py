"""CogVideoX in the model's own groups: nine frames, then eight at a time."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from latentcache.encoders.autoencoder import Autoencoder
from latentcache.testing.normalizing import normalize

TinyVideo = Callable[..., tuple[Autoencoder, Any]]
Clip = Callable[..., torch.Tensor]
Encode = Callable[..., dict[str, torch.Tensor]]


@pytest.mark.parametrize("num_frames", [1, 9, 25])
def test_latents_are_those_of_the_model(
    num_frames: int, tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, model = tiny_video("cogvideox")
    with torch.inference_mode():
        posterior = model.encode(clip(num_frames)).latent_dist
    fields = encode(encoder, clip(num_frames))
    assert torch.equal(fields["mean"], posterior.mean)
    assert torch.equal(fields["logvar"], posterior.logvar)


def test_single_frame_can_be_streamed(tiny_video: TinyVideo, clip: Clip, encode: Encode) -> None:
    encoder, _ = tiny_video("cogvideox")
    stream = encoder.open(32, 64)
    assert stream.push(clip(1)[0]) is None
    last = stream.close()
    assert last is not None
    assert torch.equal(last["mean"], encode(encoder, clip(1))["mean"][0])


@pytest.mark.parametrize(("is_inverted", "factor"), [(False, 0.7), (True, 1 / 0.7)])
def test_normalized_as_the_pipeline_does(
    is_inverted: bool, factor: float, tiny_video: TinyVideo
) -> None:
    encoder, _ = tiny_video("cogvideox", scaling_factor=0.7, invert_scale_latents=is_inverted)
    assert encoder.spec.normalizer is not None
    ones = torch.ones(1, 16, 1, 1, 1)
    assert torch.allclose(normalize(ones, encoder.spec.normalizer.ops, "CTHW"), ones * factor)
