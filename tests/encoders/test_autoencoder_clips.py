"""Every family of diffusers video autoencoders, tiny and random, through the real loading."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders import EncoderOptions, load_encoder
from latentcache.encoders.autoencoder import Autoencoder
from latentcache.encoders.spec import Encoder
from latentcache.testing.contract import EncoderContract

OPTIONS = EncoderOptions(device="cpu", is_offline=True)
SaveTiny = Callable[..., Path]
TinyVideo = Callable[..., tuple[Autoencoder, Any]]
Clip = Callable[..., torch.Tensor]
Encode = Callable[..., dict[str, torch.Tensor]]


class FamilyContract(EncoderContract):
    name = ""
    knobs = ""

    @pytest.fixture(autouse=True)
    def _folders(self, save_tiny: SaveTiny) -> None:
        type(self).folder = staticmethod(cache(lambda seed: save_tiny(self.name, seed=seed)))

    def load(self, seed: int, **options: str) -> Encoder:
        text = f"{self.name}:{self.folder(seed)}{self.knobs}"
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


class TestHunyuanContract(FamilyContract):
    name = "hunyuan"


class TestTiledHunyuanContract(FamilyContract):
    name = "hunyuan"
    knobs = "?tile_frames=16"


class TestHunyuan15Contract(FamilyContract):
    name = "hunyuan15"


class TestLtxContract(FamilyContract):
    name = "ltx"


class TestLtx2Contract(FamilyContract):
    name = "ltx2"


class TestCogVideoXContract(FamilyContract):
    name = "cogvideox"


class TestCosmosContract(FamilyContract):
    name = "cosmos"


class TestMochiContract(FamilyContract):
    name = "mochi"


class TestSvdContract(FamilyContract):
    name = "svd"


FAMILIES = (
    *("wan", "wan22", "qwen", "hunyuan", "hunyuan15", "ltx", "ltx2"),
    *("cogvideox", "cosmos", "mochi", "svd"),
)


@pytest.mark.parametrize("name", FAMILIES)
def test_decode_gives_clips_back_in_shape(
    name: str, save_tiny: SaveTiny, clip: Clip, encode: Encode
) -> None:
    # torch has no average pooling of clips in half precision on a CPU.
    dtype = "float32" if name == "cosmos" else "bfloat16"
    options = EncoderOptions(device="cpu", is_offline=True, dtype=dtype)
    encoder = load_encoder(f"{name}:{save_tiny(name)}", options)
    assert isinstance(encoder, Autoencoder)
    assert encoder.spec.compute_dtype == dtype
    pixels = clip(encoder.spec.frame_rule.first + encoder.spec.frame_rule.step, 64, 64)
    restored = encoder.decode(encode(encoder, pixels))
    assert restored.shape == pixels.shape
    assert restored.dtype == torch.float32


@pytest.mark.parametrize("name", FAMILIES)
def test_no_tiling_is_left_to_defaults(name: str, tiny_video: TinyVideo) -> None:
    encoder, _ = tiny_video(name)
    flags = {key: value for key, value in vars(encoder._module).items() if key.startswith("use_")}
    assert not any(flags.values())
    # Part of every fingerprint: a key more or less makes stored latents those of another encoder.
    tiles = {"tile_frames": 0} if name == "hunyuan" else {}
    off = {"tiling": False, "slicing": False, "framewise": False}
    assert encoder.spec.knobs == {**off, "allow_tf32": True, **tiles}


def test_weights_of_another_preset_are_refused(save_tiny: SaveTiny) -> None:
    with pytest.raises(EncoderError, match="must have 48 channels and 2 frames for wan22"):
        load_encoder(f"wan22:{save_tiny('wan')}", OPTIONS)


def test_model_of_other_colours_is_refused(save_tiny: SaveTiny) -> None:
    folder = save_tiny("wan", in_channels=4, out_channels=4)
    with pytest.raises(EncoderError, match="must encode 3 x 5 x 64 x 96 for wan"):
        load_encoder(f"wan:{folder}", OPTIONS)


def test_knob_after_the_location_is_read_and_recorded(save_tiny: SaveTiny) -> None:
    folder = save_tiny("wan")
    assert load_encoder(f"wan:{folder}", OPTIONS).spec.knobs["allow_tf32"] is True
    encoder = load_encoder(f"wan:{folder}?allow_tf32=false", OPTIONS)
    assert encoder.spec.knobs["allow_tf32"] is False
    with pytest.raises(ConfigError, match="did you mean 'allow_tf32'"):
        load_encoder(f"wan:{folder}?allow_tf23=false", OPTIONS)


def test_stream_of_a_size_that_does_not_fit_is_refused(tiny_video: TinyVideo) -> None:
    encoder, _ = tiny_video("wan")
    with pytest.raises(EncoderError, match="not a multiple of 4x4 px"):
        encoder.open(30, 32)


def test_failed_push_leaves_the_encoder_and_other_streams_as_they_were(
    tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, _ = tiny_video("ltx")
    whole = encode(encoder, clip(17))["mean"]
    stream, broken = encoder.open(32, 64), encoder.open(32, 64)
    parts = [stream.push(clip(17)[0, :, :9])]
    hook = encoder._module.encoder.mid_block.register_forward_pre_hook(_fail)
    with pytest.raises(RuntimeError, match="made to fail"):
        broken.push(clip(17)[0])
    hook.remove()
    encoder.reset()
    parts += [stream.push(clip(17)[0, :, 9:]), stream.close()]
    streamed = torch.cat([part["mean"] for part in parts if part], dim=1)
    assert torch.equal(streamed, whole[0])
    assert torch.equal(encode(encoder, clip(17))["mean"], whole)


def _fail(*_: object) -> None:
    raise RuntimeError("made to fail")
