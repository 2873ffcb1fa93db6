"""Every family of diffusers video autoencoders, tiny and random, through the real loading."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
import torch

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders import EncoderOptions, SampleMeta, load_encoder, stack_fields
from latentcache.encoders.spec import Encoder
from latentcache.encoders.video_encoder import VideoEncoder
from latentcache.testing.contract import EncoderContract

SaveTiny = Callable[..., Path]


class FamilyContract(EncoderContract):
    name = ""

    @pytest.fixture(autouse=True)
    def _folders(self, save_tiny: SaveTiny) -> None:
        type(self).folder = staticmethod(cache(lambda seed: save_tiny(self.name, seed=seed)))

    def load(self, seed: int, **options: str) -> Encoder:
        text = f"{self.name}:{self.folder(seed)}"
        return load_encoder(text, EncoderOptions(device="cpu", is_offline=True, **options))

    def make_encoder(self) -> Encoder:
        return self.load(0)

    def make_variants(self) -> Mapping[str, Callable[[], Encoder]]:
        return {"weights": lambda: self.load(1)}


class TestWanContract(FamilyContract):
    name = "wan"


class TestWan22Contract(FamilyContract):
    name = "wan22"


class TestQwenContract(FamilyContract):
    name = "qwen"


FAMILIES = ("wan", "wan22", "qwen")
ODD = {"wan": 7, "wan22": 7, "qwen": 7}


def load(name: str, folder: Path, **options: str) -> VideoEncoder:
    encoder = load_encoder(
        f"{name}:{folder}", EncoderOptions(device="cpu", is_offline=True, **options)
    )
    assert isinstance(encoder, VideoEncoder)
    return encoder


def clip(num_frames: int, *, num_rows: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(num_rows, 3, num_frames, 32, 32, generator=generator) * 2 - 1


def encode(encoder: Encoder, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    return stack_fields(encoder.encode(batch, [SampleMeta(key="")] * len(batch)))


@pytest.mark.parametrize("name", FAMILIES)
def test_decode_gives_clips_back_in_shape_in_half_precision(name: str, save_tiny: SaveTiny) -> None:
    encoder = load(name, save_tiny(name), dtype="bfloat16")
    assert encoder.spec.compute_dtype == "bfloat16"
    num_frames = encoder.spec.frame_rule.first + encoder.spec.frame_rule.step
    pixels = clip(num_frames)
    restored = encoder.decode(encode(encoder, pixels))
    assert restored.shape == pixels.shape
    assert restored.dtype == torch.float32


def test_weights_of_another_preset_are_refused(save_tiny: SaveTiny) -> None:
    with pytest.raises(EncoderError, match="must have 48 channels and 2 frames for wan22"):
        load("wan22", save_tiny("wan"))


def test_model_without_colour_is_refused(save_tiny: SaveTiny) -> None:
    with pytest.raises(EncoderError, match="must encode 3 x 5 x 64 x 96 for wan"):
        load("wan", save_tiny("wan", in_channels=4, out_channels=4))


def test_knob_after_the_location_is_read_and_recorded(save_tiny: SaveTiny) -> None:
    folder = save_tiny("wan")
    options = EncoderOptions(device="cpu", is_offline=True)
    assert load_encoder(f"wan:{folder}", options).spec.knobs["allow_tf32"] is True
    encoder = load_encoder(f"wan:{folder}?allow_tf32=false", options)
    assert encoder.spec.knobs["allow_tf32"] is False
    with pytest.raises(ConfigError, match="did you mean 'allow_tf32'"):
        load_encoder(f"wan:{folder}?allow_tf23=false", options)
