"""Vision features are those of the model's own class, on the patch grid of the planned picture."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional as F

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders import Encoder, EncoderOptions, SampleMeta, check_encoder, load_encoder

OFFLINE = EncoderOptions(device="cpu", is_offline=True)
_SIZE: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_WIDE = {**_SIZE, "intermediate_size": 48}
MODELS: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "dinov2": ("dinov2", "Dinov2", {**_SIZE, "image_size": 56, "patch_size": 14}, 1),
    "registers": (
        *("dinov2", "Dinov2WithRegisters"),
        {**_SIZE, "image_size": 56, "patch_size": 14, "num_register_tokens": 4},
        5,
    ),
    "dinov3": ("dinov3", "DINOv3ViT", {**_WIDE, "image_size": 64, "num_register_tokens": 4}, 5),
    "siglip": ("siglip", "SiglipVision", {**_WIDE, "image_size": 64, "patch_size": 16}, 0),
    "naflex": ("siglip", "Siglip2Vision", {**_WIDE, "patch_size": 16, "num_patches": 16}, 0),
    "mae": ("mae", "ViTMAE", {**_WIDE, "image_size": 64, "patch_size": 16}, 1),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each tiny model, saved."""
    home = tmp_path_factory.mktemp("features")
    for name, (_, kind, config, _) in MODELS.items():
        torch.manual_seed(0)
        made = getattr(transformers, f"{kind}Config")(**config)
        getattr(transformers, f"{kind}Model")(made).save_pretrained(home / name)
    return {name: home / name for name in MODELS}


def loaded(folder: Path, name: str, knobs: str = "") -> Encoder:
    return load_encoder(f"{MODELS[name][0]}:{folder}{'?' if knobs else ''}{knobs}", OFFLINE)


def pictures(height_px: int = 64, width_px: int = 64) -> torch.Tensor:
    return torch.rand((2, 3, height_px, width_px), generator=torch.Generator().manual_seed(1))


def encoded(encoder: Encoder, pixels: torch.Tensor) -> torch.Tensor:
    rows = encoder.encode(pixels, [SampleMeta(key=str(n)) for n in range(len(pixels))])
    return torch.stack([row["z"] for row in rows])


def own(folder: Path, name: str, pixels: torch.Tensor) -> Any:
    """Return what the class itself gives of these pictures, already of its size."""
    _, kind, _, _ = MODELS[name]
    model = getattr(transformers, f"{kind}Model").from_pretrained(folder).eval()
    mean, std = ((0.5,) * 3,) * 2 if name in ("siglip", "naflex") else (
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # fmt: skip
    shape = (1, 3, 1, 1)
    given = (pixels - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    with torch.inference_mode():
        if name == "naflex":
            # As the image processor does: height, width, then patches of (y, x, channel).
            hwc = given.permute(0, 2, 3, 1)
            cut = hwc.reshape(2, 4, 16, 4, 16, 3).permute(0, 1, 3, 2, 4, 5).reshape(2, 16, -1)
            return model(
                cut,
                pixel_attention_mask=torch.ones(2, 16, dtype=torch.int64),
                spatial_shapes=torch.tensor([[4, 4], [4, 4]]),
                output_hidden_states=True,
            )
        if name == "mae":
            model.config.mask_ratio = 0.0
            return model(given, noise=torch.arange(16.0).expand(2, -1), output_hidden_states=True)
        return model(given, output_hidden_states=True)


@pytest.mark.parametrize("name", MODELS)
def test_features_are_the_patch_tokens_of_the_class(models: dict[str, Path], name: str) -> None:
    pixels, dropped = pictures(), MODELS[name][3]
    given = pixels
    if "dinov2" in MODELS[name][0]:  # a patch of 14 px for each 16 px of the picture
        given = F.interpolate(pixels, size=(56, 56), mode="bicubic", antialias=True).clamp(0, 1)
    found = own(models[name], name, given)
    listed = encoded(loaded(models[name], name, "layout=NC"), pixels)
    torch.testing.assert_close(listed, found.last_hidden_state[:, dropped:])
    grid = encoded(loaded(models[name], name), pixels)
    assert grid.shape == (2, 32, 4, 4)
    assert torch.equal(grid.flatten(2).transpose(1, 2), listed)
    plain = encoded(loaded(models[name], name, "layout=NC,norm=plain"), pixels)
    hidden = found.hidden_states[-1][:, dropped:]
    torch.testing.assert_close(plain.mean(-1), torch.zeros(2, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(plain, F.layer_norm(hidden, (32,), eps=1e-6), atol=1e-3, rtol=1e-3)
    joined = encoded(loaded(models[name], name, "layout=NC,layers=1+-1"), pixels)
    expected = torch.cat([found.hidden_states[1], found.hidden_states[-1]], -1)[:, dropped:]
    torch.testing.assert_close(joined, expected)


@pytest.mark.parametrize("name", MODELS)
def test_sizes_that_are_not_square_have_a_token_per_cell(
    models: dict[str, Path], name: str
) -> None:
    encoder = loaded(models[name], name, "cell=8")
    assert encoder.spec.spatial_factor == (8, 8)
    assert encoded(encoder, pictures(32, 48)).shape == (2, 32, 4, 6)
    with pytest.raises(EncoderError, match="multiple of 8x8 px"):
        encoded(encoder, pictures(30, 48))


def test_rows_do_not_depend_on_their_neighbours(models: dict[str, Path]) -> None:
    pixels = pictures()
    for name in MODELS:
        encoder = loaded(models[name], name)
        both = encoded(encoder, pixels)
        assert torch.equal(encoded(encoder, pixels.flip(0)), both.flip(0)), name


def test_all_that_changes_a_value_changes_the_fingerprint(
    models: dict[str, Path], tmp_path: Path
) -> None:
    knobs = ("", "layers=1", "norm=plain", "norm=none", "layout=NC", "cell=8")
    found = {loaded(models["dinov2"], "dinov2", knob).spec.fingerprint() for knob in knobs}
    folder = tmp_path / "other"
    model = transformers.Dinov2Model.from_pretrained(models["dinov2"])
    model.save_pretrained(folder)
    assert loaded(folder, "dinov2").spec.fingerprint() in found
    told = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    found.add(loaded(folder, "dinov2").spec.fingerprint())
    assert len(found) == len(knobs) + 1


def test_bad_models_are_one_sentence(models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "spoilt"
    transformers.Dinov2Model.from_pretrained(models["dinov2"]).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"image_mean": [1, 2, 3]}')
    cases = {
        f"dinov2:{folder}": "must have image_mean and image_std",
        f"dinov2:{models['mae']}": "must be of class Dinov2Model or .* got ViTMAEModel",
        f"dinov2:{models['dinov2']}?layers=9": "layers must be hidden states -3 to 2, got 9",
        f"dinov2:{models['dinov2']}?layers=1,norm=model": "norm must be plain or none with",
        f"dinov2:{models['dinov2']}?layout=HWC": "value must be one of CHW, NC, got .HWC.",
        "dinov2:no-such-folder": "weights must be a folder or a hub id",
    }
    for text, sentence in cases.items():
        with pytest.raises((ConfigError, EncoderError), match=sentence):
            load_encoder(text, OFFLINE)
    with pytest.raises(EncoderError, match="got ViTMAEModel"):
        check_encoder(f"dinov2:{models['mae']}", "pixels")
