"""Wan's bits are those of the model, whole, in pieces, and after whatever went wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from latentcache.encoders import EncoderOptions, SampleMeta, load_encoder, stack_fields
from latentcache.encoders.spec import Encoder
from latentcache.encoders.video_encoder import VideoEncoder
from latentcache.testing.normalizing import normalize

SaveTiny = Callable[..., Path]
NAMES = ("wan", "wan22", "qwen")


def load(name: str, folder: Path) -> VideoEncoder:
    encoder = load_encoder(f"{name}:{folder}", EncoderOptions(device="cpu", is_offline=True))
    assert isinstance(encoder, VideoEncoder)
    return encoder


def clip(num_frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, num_frames, 32, 48, generator=generator) * 2 - 1


def encode(encoder: Encoder, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    return stack_fields(encoder.encode(batch, [SampleMeta(key="")] * len(batch)))


@pytest.mark.parametrize("name", NAMES)
def test_latents_are_those_of_the_model(name: str, save_tiny: SaveTiny) -> None:
    import diffusers  # noqa: PLC0415  takes seconds

    folder = save_tiny(name)
    class_name = "AutoencoderKLQwenImage" if name == "qwen" else "AutoencoderKLWan"
    module = getattr(diffusers, class_name).from_pretrained(folder, low_cpu_mem_usage=False)
    with torch.inference_mode():
        posterior = module.eval().encode(clip(13)).latent_dist
    fields = encode(load(name, folder), clip(13))
    assert torch.equal(fields["mean"], posterior.mean)
    assert torch.equal(fields["logvar"], posterior.logvar)


def test_state_does_not_grow_with_the_clip(save_tiny: SaveTiny) -> None:
    stream = load("wan", save_tiny("wan")).open(32, 48)
    sizes = []
    for frames in clip(41)[0].split(4, dim=1):
        stream.push(frames)
        tails = [tail for tail in stream._state if tail is not None]
        sizes.append(sum(tail.untyped_storage().nbytes() for tail in tails))
    assert len(set(sizes[2:])) == 1


def test_normalised_as_the_pipeline_does(save_tiny: SaveTiny) -> None:
    mean, std = [c / 16 for c in range(16)], [1 + c / 16 for c in range(16)]
    encoder = load("wan", save_tiny("wan", latents_mean=mean, latents_std=std))
    assert encoder.spec.normalizer is not None
    latents = encode(encoder, clip(5))["mean"].double()
    scores = normalize(latents, encoder.spec.normalizer.ops, "CTHW")
    # As diffusers' pipeline_wan_i2v.py does it: its "latents_std" is 1 / std.
    inverse = 1.0 / torch.tensor(std).double().view(1, 16, 1, 1, 1)
    expected = (latents - torch.tensor(mean).double().view(1, 16, 1, 1, 1)) * inverse
    assert torch.allclose(scores, expected)
