"""A folder that is not what was promised is refused in one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders import EncoderOptions, load_encoder

CPU = EncoderOptions(device="cpu", is_offline=True)
SaveTiny = Callable[..., Path]
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def kl_folder(save_tiny: SaveTiny) -> Path:
    return save_tiny("AutoencoderKL")


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **changes}), encoding="utf-8")


def refusal(name: str, folder: Path | str) -> str:
    with pytest.raises(EncoderError) as caught:
        load_encoder(f"{name}:{folder}", CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folder_without_weights(kl_folder: Path) -> None:
    (kl_folder / WEIGHTS).unlink()
    assert "got" in (sentence := refusal("sdxl", kl_folder))
    assert "without weights" in sentence


def test_pickled_weights_are_never_opened(kl_folder: Path) -> None:
    (kl_folder / WEIGHTS).rename(kl_folder / "diffusion_pytorch_model.bin")
    assert "pickles are never opened" in refusal("sdxl", kl_folder)


def test_folder_without_config(tmp_path: Path) -> None:
    assert "must hold config.json" in refusal("sdxl", tmp_path)


def test_config_that_is_not_json(kl_folder: Path) -> None:
    (kl_folder / "config.json").write_text("{", encoding="utf-8")
    assert "config.json must be JSON" in refusal("sdxl", kl_folder)


def test_config_of_another_class_shows_both(save_tiny: SaveTiny) -> None:
    sentence = refusal("sdxl", save_tiny("AutoencoderTiny"))
    assert "must be of class AutoencoderKL, got AutoencoderTiny" in sentence


def test_wrong_channel_count_shows_both(kl_folder: Path) -> None:
    sentence = refusal("flux", kl_folder)
    assert "must have 16 channels for flux, got (4, 16, 24) of 3 x 64 x 96" in sentence


def test_wrong_colour_channels(save_tiny: SaveTiny) -> None:
    folder = save_tiny("AutoencoderKL", in_channels=4)
    sentence = refusal("kl", folder)
    assert "must encode 3 x 64 x 96 for kl, got a failure" in sentence
    assert "to have 4 channels" in sentence


def test_missing_folder() -> None:
    assert "no such folder" in refusal("sdxl", "/no/such/folder")


def test_the_file_of_a_folder_is_the_folder(kl_folder: Path) -> None:
    file, folder = (load_encoder(f"sdxl:{each}", CPU) for each in (kl_folder / WEIGHTS, kl_folder))
    assert file.spec == folder.spec


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument")  # diffusers passes it
def test_hub_id_that_is_not_here_when_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert "no network was asked" in refusal("sdxl", "nobody/no-such-vae")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights_are_named(kl_folder: Path, value: float) -> None:
    change_weights(kl_folder, lambda t: t["encoder.conv_in.bias"].fill_(value))
    assert "got NaN or infinity in encoder.conv_in.bias" in refusal("sdxl", kl_folder)


def test_missing_tensors_are_not_made_up(kl_folder: Path) -> None:
    change_weights(kl_folder, lambda t: t.pop("encoder.conv_in.bias"))
    assert "1 tensors missing" in refusal("sdxl", kl_folder)


def test_tensors_of_another_shape(kl_folder: Path) -> None:
    change_config(kl_folder, norm_num_groups=2, block_out_channels=[4, 8, 8])
    assert "must load into AutoencoderKL" in refusal("sdxl", kl_folder)


def test_damaged_file(kl_folder: Path) -> None:
    path = kl_folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])
    assert "must load into AutoencoderKL" in refusal("sdxl", kl_folder)


def test_pipeline_folder_is_entered(kl_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(kl_folder, tmp_path / "vae")
    (tmp_path / "model_index.json").write_text("{}", encoding="utf-8")
    whole = load_encoder(f"sdxl:{tmp_path}", CPU)
    assert whole.spec.weights_digest == load_encoder(f"sdxl:{kl_folder}", CPU).spec.weights_digest


def test_digest_is_that_of_the_values(kl_folder: Path) -> None:
    def digest() -> str:
        return load_encoder(f"kl:{kl_folder}", CPU).spec.weights_digest

    first = digest()
    change_config(kl_folder, scaling_factor=0.5, sample_size=512, _name_or_path="elsewhere")
    assert digest() == first
    change_weights(kl_folder, lambda t: t["encoder.conv_in.bias"].add_(1e-3))
    assert digest() != first


def test_digest_covers_the_config_that_changes_values(save_tiny: SaveTiny) -> None:
    folder = save_tiny("AutoencoderKL")
    first = load_encoder(f"kl:{folder}", CPU).spec.weights_digest
    change_config(folder, act_fn="relu")
    assert load_encoder(f"kl:{folder}", CPU).spec.weights_digest != first


def test_defaults_written_out_or_left_out_are_one_encoder(kl_folder: Path) -> None:
    spec = load_encoder(f"kl:{kl_folder}", CPU).spec
    assert spec.former_digests == ()
    path = kl_folder / "config.json"
    config = json.loads(path.read_text())
    del config["act_fn"], config["use_post_quant_conv"]
    path.write_text(json.dumps(config), encoding="utf-8")
    short = load_encoder(f"kl:{kl_folder}", CPU).spec
    assert short.weights_digest == spec.weights_digest
    assert short.former_digests not in ((), (spec.weights_digest,))


def test_sdxl_refuses_fp16_before_looking_for_weights() -> None:
    options = EncoderOptions(device="cpu", dtype="float16")
    with pytest.raises(ConfigError, match="one sdxl can compute in"):
        load_encoder("sdxl:/no/such/folder", options)


def test_force_upcast_forbids_fp16(kl_folder: Path) -> None:
    change_config(kl_folder, force_upcast=True)
    with pytest.raises(ConfigError, match="one kl can compute in"):
        load_encoder(f"kl:{kl_folder}", EncoderOptions(device="cpu", dtype="float16"))


def test_unknown_knob_is_refused_before_looking_for_weights() -> None:
    with pytest.raises(ConfigError, match="did you mean 'allow_tf32'"):
        load_encoder("kl:/no/such/folder", EncoderOptions(knobs={"alow_tf32": True}))


def test_tensors_that_the_encoding_half_has_no_place_for_are_refused(kl_folder: Path) -> None:
    change_config(kl_folder, use_quant_conv=False)
    sentence = refusal("sd", kl_folder)
    assert "no place for in the half that encodes" in sentence
    assert "quant_conv.bias" in sentence


def test_what_has_no_effect_is_told(kl_folder: Path) -> None:
    quiet = load_encoder(f"sd:{kl_folder}", CPU).spec
    assert quiet.notes == ()
    change_config(kl_folder, use_quantum_conv=False)
    change_weights(kl_folder, lambda all_: all_.update({"loss.logvar": torch.zeros(1)}))
    spec = load_encoder(f"sd:{kl_folder}", CPU).spec
    assert [note.split(":")[0] for note in spec.notes] == [
        "config.json has 1 keys that AutoencoderKL does not know (e.g. use_quantum_conv)",
        "weights hold 1 tensors that AutoencoderKL has no place for (e.g. loss.logvar)",
    ]
