"""LTX group by group equals one pass of the model, whichever way its blocks downsample."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from latentcache.core.errors import EncoderError
from latentcache.encoders import EncoderOptions, load_encoder
from latentcache.encoders.autoencoder import Autoencoder
from latentcache.testing.normalizing import normalize

TinyVideo = Callable[..., tuple[Autoencoder, Any]]
Clip = Callable[..., torch.Tensor]
Encode = Callable[..., dict[str, torch.Tensor]]

BLOCKS_095 = {
    "block_out_channels": (8, 16, 32, 64, 64),
    "down_block_types": ("LTXVideo095DownBlock3D",) * 5,
    "layers_per_block": (1,) * 6,
    "spatio_temporal_scaling": (True,) * 4,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "decoder_block_out_channels": (8, 16, 32),
    "decoder_layers_per_block": (1,) * 4,
    "decoder_spatio_temporal_scaling": (True,) * 3,
    "decoder_inject_noise": (False,) * 4,
    "upsample_residual": (True,) * 3,
    "upsample_factor": (2,) * 3,
}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param("ltx", {}, id="strided-convolutions"),
        pytest.param("ltx", BLOCKS_095, id="downsamplers-of-0.9.5"),
        pytest.param("ltx2", {}, id="ltx2"),
    ],
)
def test_pieces_agree_with_the_model(
    name: str, changes: dict[str, Any], tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, model = tiny_video(name, **changes)
    with torch.inference_mode():
        whole = model.encode(clip(33)).latent_dist.mean[0]
    stream = encoder.open(32, 64)
    parts = [stream.push(frames) for frames in clip(33)[0].split([3, 10, 1, 19], dim=1)]
    stream.close()
    streamed = torch.cat([part["mean"] for part in parts if part], dim=1)
    assert (streamed - whole).abs().max() < 4e-6 * whole.abs().max()
    assert torch.equal(streamed, encode(encoder, clip(33))["mean"][0])


def test_pieces_have_the_bits_of_the_whole_in_half_precision(
    save_tiny: Callable[..., Path], clip: Clip, encode: Encode
) -> None:
    options = EncoderOptions(device="cpu", is_offline=True, dtype="bfloat16")
    encoder = load_encoder(f"ltx:{save_tiny('ltx')}", options)
    assert isinstance(encoder, Autoencoder)
    stream = encoder.open(32, 64)
    parts = [stream.push(frames) for frames in clip(17)[0].split(6, dim=1)]
    streamed = torch.cat([part["mean"] for part in parts if part], dim=1)
    assert torch.equal(streamed, encode(encoder, clip(17))["mean"][0])


def test_model_is_left_as_it_was(tiny_video: TinyVideo, clip: Clip) -> None:
    encoder, _ = tiny_video("ltx2")
    encoder.open(32, 64).push(clip(9)[0])
    assert not any("forward" in vars(part) for part in encoder._module.modules())


def test_state_does_not_grow_with_the_clip(tiny_video: TinyVideo, clip: Clip) -> None:
    stream = tiny_video("ltx")[0].open(32, 64)
    sizes = []
    for frames in clip(41)[0].split([1, 8, 8, 8, 8, 8], dim=1):
        stream.push(frames)
        sizes.append(sum(tail.untyped_storage().nbytes() for tail in stream._state.values()))
    assert len(set(sizes)) == 1


@pytest.mark.parametrize("name", ["ltx", "ltx2"])
def test_normalized_by_its_buffers(
    name: str, tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, model = tiny_video(name, scaling_factor=0.5)
    assert encoder.spec.normalizer is not None
    assert encoder.spec.normalizer.source == "buffer"
    latents = encode(encoder, clip(9))["mean"].double()
    buffers = dict(model.named_buffers())
    mean, std = (buffers[f"latents_{key}"].view(1, -1, 1, 1, 1) for key in ("mean", "std"))
    # As diffusers' pipeline_ltx.py does it.
    expected = (latents - mean) * 0.5 / std
    assert torch.allclose(normalize(latents, encoder.spec.normalizer.ops, "CTHW"), expected)


def test_log_variance_is_one_for_all_channels(
    tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, _ = tiny_video("ltx2")
    logvar = encode(encoder, clip(9))["logvar"]
    assert torch.equal(logvar, logvar[:, :1].expand_as(logvar))
    assert encoder.spec.fields[1].broadcast == "C"


def test_encoder_that_looks_ahead_is_refused(tiny_video: TinyVideo) -> None:
    with pytest.raises(EncoderError, match="must have encoder_causal"):
        tiny_video("ltx", encoder_causal=False)
