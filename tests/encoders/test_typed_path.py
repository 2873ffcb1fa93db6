"""A folder or hub id alone finds its preset, and what is assumed is said."""

import json
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders import EncoderOptions, load_encoder, named_encoder
from latentcache.encoders.presets import preset_of
from latentcache.encoders.typed_path import PIPELINES, NamedEncoder

CPU = EncoderOptions(device="cpu", is_offline=True)
SaveTiny = Callable[..., Path]


def vae(folder: Path, class_name: str, **config: object) -> Path:
    """Write a config.json as ``save_pretrained`` does; the weights are nobody's business here."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {"_class_name": class_name, "_diffusers_version": "0.42.0", **config}
    (folder / "config.json").write_text(json.dumps(written))
    return folder


@pytest.mark.parametrize(
    ("class_name", "config", "name"),
    [
        ("AutoencoderKL", {"latent_channels": 4, "scaling_factor": 0.18215}, "sd"),
        ("AutoencoderKL", {"latent_channels": 4, "scaling_factor": 0.13025}, "sdxl"),
        ("AutoencoderKL", {"latent_channels": 16, "scaling_factor": 1.5305}, "sd3"),
        ("AutoencoderKL", {"latent_channels": 16, "scaling_factor": 0.3611}, "flux"),
        ("AutoencoderKL", {"latent_channels": 8, "scaling_factor": 0.5}, "kl"),
        ("AutoencoderKLFlux2", {"latent_channels": 32}, "flux2"),
        ("AutoencoderDC", {"latent_channels": 32}, "dc"),
        ("AutoencoderTiny", {"latent_channels": 4}, "tiny"),
        ("AutoencoderKLWan", {"z_dim": 16}, "wan"),
        ("AutoencoderKLWan", {}, "wan"),
        ("AutoencoderKLWan", {"z_dim": 48}, "wan22"),
        ("AutoencoderKLHunyuanVideo15", {"latent_channels": 32}, "hunyuan15"),
        ("AutoencoderKLTemporalDecoder", {"latent_channels": 4}, "svd"),
    ],
)
def test_the_class_and_its_channels_choose(
    tmp_path: Path, class_name: str, config: dict[str, object], name: str
) -> None:
    folder = vae(tmp_path / "weights", class_name, **config)
    named = named_encoder(f"{folder}?allow_tf32=false")
    assert named.text == f"{name}:{folder}?allow_tf32=false"
    assert f"taken as {name}:{folder}, by its class {class_name}" in named.said


def test_others_that_share_the_class_are_told_as_they_are_typed(tmp_path: Path) -> None:
    folder = vae(tmp_path / "vae", "AutoencoderKLFlux2", latent_channels=32)
    said = named_encoder(str(folder)).said
    assert said.endswith(f"for them give ernie-image:{folder}, ideogram4:{folder}")
    plain = vae(tmp_path / "sd", "AutoencoderKL", latent_channels=4, scaling_factor=0.18215)
    others = named_encoder(str(plain)).said.partition("for them give ")[2]
    assert others == f"glm-image:{plain}"
    silent = vae(tmp_path / "old", "AutoencoderKL", latent_channels=4)
    assert f"sd:{silent}, sdxl:{silent}" in named_encoder(str(silent)).said


@pytest.mark.parametrize(
    ("pipeline", "class_name", "name"),
    [
        ("Ideogram4Pipeline", "AutoencoderKLFlux2", "ideogram4"),
        ("Flux2KleinPipeline", "AutoencoderKLFlux2", "flux2"),
        ("ZImagePipeline", "AutoencoderKL", "z-image"),
        ("FluxKontextPipeline", "AutoencoderKL", "flux"),
        ("SanaSprintPipeline", "AutoencoderDC", "sana-sprint"),
        ("NobodysPipeline", "AutoencoderDC", "dc"),
    ],
)
def test_a_pipeline_says_which_model_it_is(
    tmp_path: Path, pipeline: str, class_name: str, name: str
) -> None:
    vae(tmp_path / "vae", class_name, scaling_factor=0.3611)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    for folder in (tmp_path, tmp_path / "vae"):
        assert named_encoder(str(folder)).text == f"{name}:{folder}"


@pytest.mark.parametrize("knobs", ["", "?layer=11"])
def test_a_class_of_one_s_own_is_given_any_file(knobs: str, tmp_path: Path) -> None:
    for location in (tmp_path / "own.safetensors", "own.safetensors", "~/own.pt"):
        text = f"my_package.encoders:Own:{location}{knobs}"
        assert named_encoder(text) == NamedEncoder(text)
    with pytest.raises(ConfigError, match="no such folder or file"):
        named_encoder(f"flxu:{tmp_path / 'own.safetensors'}")


def test_every_pipeline_begins_as_one_of_diffusers_and_names_a_preset() -> None:
    spec = find_spec("diffusers")
    assert spec is not None
    assert spec.origin is not None
    names = re.findall(r'"(\w+Pipeline)"', Path(spec.origin).read_text(encoding="utf-8"))
    for prefix, name in PIPELINES.items():
        assert any(each.startswith(prefix) for each in names), prefix
        assert preset_of(name) is not None


def test_a_folder_alone_loads(save_tiny: SaveTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny("AutoencoderKL", scaling_factor=0.13025)
    assert load_encoder(str(folder), CPU).spec == load_encoder(f"sdxl:{folder}", CPU).spec
    monkeypatch.chdir(folder.parent)
    assert named_encoder(folder.name).text == f"sdxl:{folder.name}"


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument")  # diffusers passes it
def test_a_hub_id_alone_is_looked_up(
    save_tiny: SaveTiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = "0123456789012345678901234567890123456789"
    cached = tmp_path / "models--somebody--some-vae"
    shutil.copytree(save_tiny("AutoencoderKL"), cached / "snapshots" / revision)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    named = named_encoder("somebody/some-vae", is_offline=True)
    assert named.text == "sdxl:somebody/some-vae"
    with pytest.raises(EncoderError, match="no network was asked"):
        named_encoder("somebody/another-vae", is_offline=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("/no/such/vae", "no such folder or file"),
        ("./vae", "no such folder or file"),
        ("ae.safetensors", "no such folder or file"),
    ],
)
def test_a_path_that_is_not_there(
    text: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=sentence):
        named_encoder(text)


def test_a_file_alone_names_no_model(tmp_path: Path) -> None:
    path = tmp_path / "ae.safetensors"
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match=f"for instance flux:{path}"):
        named_encoder(str(path))


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    unet = vae(tmp_path / "unet", "UNet2DConditionModel", in_channels=4)
    with pytest.raises(EncoderError, match="got class UNet2DConditionModel"):
        named_encoder(str(unet))
    with pytest.raises(EncoderError, match=r"must hold config\.json"):
        named_encoder(str(tmp_path))


def test_a_name_wins_over_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dct").mkdir()
    monkeypatch.chdir(tmp_path)
    assert named_encoder("dct").text == "dct"
    assert named_encoder("dct:keep=4") == named_encoder("dct:keep=4")
    assert named_encoder("some.module:Class:argument").said == ""
