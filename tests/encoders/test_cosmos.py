"""Cosmos leaves a point, normalized by a table of channels and latent frames."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from latentcache.core.errors import EncoderError
from latentcache.encoders.autoencoder import Autoencoder
from latentcache.testing.normalizing import normalize

TinyVideo = Callable[..., tuple[Autoencoder, Any]]
Clip = Callable[..., torch.Tensor]
Encode = Callable[..., dict[str, torch.Tensor]]


def test_point_is_the_mode_of_the_model(tiny_video: TinyVideo, clip: Clip, encode: Encode) -> None:
    encoder, model = tiny_video("cosmos")
    with torch.inference_mode():
        mode = model.encode(clip(9)).latent_dist.mode()
    fields = encode(encoder, clip(9))
    assert list(fields) == ["z"]
    assert torch.equal(fields["z"], mode)


def test_normalized_as_the_pipeline_does(tiny_video: TinyVideo, clip: Clip, encode: Encode) -> None:
    encoder, model = tiny_video("cosmos")
    assert encoder.spec.normalizer is not None
    latents = encode(encoder, clip(17))["z"].double()
    # As diffusers' pipeline_cosmos_video2world.py does it.
    mean, std = (
        torch.tensor(model.config[f"latents_{key}"]).double().view(1, 16, -1, 1, 1)[:, :, :3]
        for key in ("mean", "std")
    )
    expected = (latents - mean) * 0.5 / std
    assert torch.allclose(normalize(latents, encoder.spec.normalizer.ops, "CTHW"), expected)


def test_model_without_a_table_is_scaled_alone(tiny_video: TinyVideo) -> None:
    encoder, _ = tiny_video("cosmos", latents_mean=None, latents_std=None)
    assert encoder.spec.normalizer is not None
    assert [op.op for op in encoder.spec.normalizer.ops] == ["multiply"]


def test_torn_table_is_refused(tiny_video: TinyVideo) -> None:
    with pytest.raises(EncoderError, match="must be tables of 16 channels, got 17 and 17 values"):
        tiny_video("cosmos", latents_mean=[0.0] * 17, latents_std=[1.0] * 17)
