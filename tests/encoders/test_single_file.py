"""Single files of weights give what the folder of the same weights gives, or are refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentcache.core.errors import EncoderError
from latentcache.encoders import EncoderOptions, check_encoder, load_encoder
from latentcache.encoders.checkpoint.single_file import READABLE

CPU = EncoderOptions(device="cpu", is_offline=True)
SaveTiny = Callable[..., Path]
WEIGHTS = "diffusion_pytorch_model.safetensors"
# The class's own number of groups stands nowhere in the shapes; released models have it too.
FLUX = {
    "block_out_channels": (32, 32, 64, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 16,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
}


def as_ldm(name: str, num_blocks: int) -> str:
    """Return the name that a tensor of ``AutoencoderKL`` has in the files of its authors."""

    def up(match: re.Match[str]) -> str:
        return f"up.{num_blocks - 1 - int(match[1])}."

    for pattern, name_there in (
        (r"down_blocks\.(\d+)\.", r"down.\1."),
        (r"up_blocks\.(\d+)\.", up),
        (r"mid_block\.resnets\.0\.", "mid.block_1."),
        (r"mid_block\.resnets\.1\.", "mid.block_2."),
        (r"mid_block\.attentions\.0\.", "mid.attn_1."),
        (r"resnets\.(\d+)\.", r"block.\1."),
        (r"(down|up)samplers\.0\.", r"\1sample."),
        (r"conv_shortcut", "nin_shortcut"),
        (r"conv_norm_out", "norm_out"),
        (r"group_norm", "norm"),
        (r"to_([qkv])\.", r"\1."),
        (r"to_out\.0\.", "proj_out."),
    ):
        name = re.sub(pattern, name_there, name)
    return name


def save_ldm(folder: Path, path: Path, *, prefix: str = "") -> Path:
    """Write the weights of ``folder`` as their authors would: other names, 1x1 attention."""
    config = json.loads((folder / "config.json").read_text())
    tensors = {}
    for name, values in load_file(folder / WEIGHTS).items():
        renamed = as_ldm(name, len(config["block_out_channels"]))
        is_linear = "attn_1" in renamed and values.ndim == 2
        tensors[prefix + renamed] = values[:, :, None, None] if is_linear else values
    save_file({name: values.contiguous() for name, values in tensors.items()}, path)
    return path


WAN_NAMES = (
    (r"(en|de)coder\.conv_in\.", r"\1coder.conv1."),
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"mid_block\.resnets\.0\.", "middle.0."),
    (r"mid_block\.attentions\.0\.", "middle.1."),
    (r"mid_block\.resnets\.1\.", "middle.2."),
    (r"coder\.norm_out\.", "coder.head.0."),
    (r"coder\.conv_out\.", "coder.head.2."),
    (r"encoder\.down_blocks\.", "encoder.downsamples."),
    (r"norm1\.gamma", "residual.0.gamma"),
    (r"norm2\.gamma", "residual.3.gamma"),
    (r"\.conv1\.(weight|bias)$", r".residual.2.\1"),
    (r"\.conv2\.(weight|bias)$", r".residual.6.\1"),
    (r"conv_shortcut", "shortcut"),
)


def as_wan(name: str) -> str:
    """Return the name that a tensor of ``AutoencoderKLWan`` has in the files of its authors."""
    for part, of_block in (("resnets", 0), ("upsamplers", 3)):
        match = re.match(rf"decoder\.up_blocks\.(\d)\.{part}\.(\d)\.(.*)", name)
        if match is not None:
            index = 4 * int(match[1]) + of_block + int(match[2])
            name = f"decoder.upsamples.{index}.{match[3]}"
    is_plain = re.fullmatch(r"(en|de)coder\.conv_(in|out)\..*|(post_)?quant_conv\..*", name)
    for pattern, name_there in WAN_NAMES[:9] if is_plain else WAN_NAMES:
        name = re.sub(pattern, name_there, name)
    return name


def test_wan_as_its_authors_publish_it(save_tiny: SaveTiny, tmp_path: Path) -> None:
    whole = {"dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "base_dim": 4}
    folder = save_tiny("wan", temperal_downsample=[False, True, True], **whole)
    path = tmp_path / "wan_2.1_vae.safetensors"
    tensors = load_file(folder / WEIGHTS)
    save_file({as_wan(name): values for name, values in tensors.items()}, path)
    check_encoder(f"wan:{path}")
    file, saved = (load_encoder(f"wan:{each}", CPU).spec for each in (path, folder))
    assert file.identity() == saved.identity()
    assert file.normalizer == saved.normalizer


@pytest.fixture(scope="module")
def flux_folder(save_tiny: SaveTiny) -> Path:
    return save_tiny("AutoencoderKL", **FLUX)


@pytest.mark.parametrize("prefix", ["", "vae.", "first_stage_model."])
def test_a_file_is_the_encoder_of_its_folder(
    flux_folder: Path, tmp_path: Path, prefix: str
) -> None:
    path = save_ldm(flux_folder, tmp_path / "ae.safetensors", prefix=prefix)
    check_encoder(f"flux:{path}")
    file, folder = (load_encoder(f"flux:{each}", CPU).spec for each in (path, flux_folder))
    assert file.identity() == folder.identity()
    assert file.normalizer is not None
    assert folder.normalizer is not None
    assert file.normalizer.ops == folder.normalizer.ops
    assert file.normalizer.source == "preset"


def test_a_config_can_be_given_or_lie_beside(
    save_tiny: SaveTiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny("AutoencoderKL", **{**FLUX, "norm_num_groups": 8})
    path = save_ldm(folder, tmp_path / "ae.safetensors")
    digest = load_encoder(f"flux:{folder}", CPU).spec.weights_digest
    assert load_encoder(f"flux:{path}", CPU).spec.weights_digest != digest
    given = load_encoder(f"flux:{path}?config={folder},allow_tf32=false", CPU).spec
    assert given.weights_digest == digest
    assert given.knobs["allow_tf32"] is False
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    assert load_encoder(f"flux:{path}", CPU).spec.weights_digest == digest


def test_names_of_diffusers_do_as_well(flux_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes((flux_folder / WEIGHTS).read_bytes())
    spec = load_encoder(f"flux:{path}", CPU).spec
    assert spec.weights_digest == load_encoder(f"flux:{flux_folder}", CPU).spec.weights_digest


def test_halves_are_read_as_they_are(flux_folder: Path, tmp_path: Path) -> None:
    path = save_ldm(flux_folder, tmp_path / "ae.safetensors")
    halves = {name: values.half() for name, values in load_file(path).items()}
    save_file(halves, path)
    assert load_encoder(f"flux:{path}", CPU).spec.compute_dtype == "float32"


def test_a_file_that_lacks_a_tensor_is_refused(flux_folder: Path, tmp_path: Path) -> None:
    path = save_ldm(flux_folder, tmp_path / "ae.safetensors")
    tensors = load_file(path)
    del tensors["encoder.conv_in.bias"]
    save_file(tensors, path)
    assert "encoder.conv_in.bias" in refusal(f"flux:{path}")


def test_a_file_of_another_model_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "unet.safetensors"
    save_file({"input_blocks.0.0.weight": torch.zeros(4, 4)}, path)
    with pytest.raises(EncoderError, match="those of a AutoencoderKL as released, got 1 tensors"):
        check_encoder(f"sdxl:{path}")


@pytest.mark.parametrize("name", ["qwen", "flux2", "dc"])
def test_what_diffusers_cannot_read_alone_says_why(name: str, tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    save_file({"encoder.conv1.weight": torch.zeros(4, 4)}, path)
    with pytest.raises(EncoderError, match="give the folder that save_pretrained wrote"):
        check_encoder(f"{name}:{path}")


def test_a_file_cut_off_or_pickled_is_refused(flux_folder: Path, tmp_path: Path) -> None:
    path = save_ldm(flux_folder, tmp_path / "ae.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(EncoderError, match="must be whole safetensors files"):
        check_encoder(f"flux:{path}")
    pickle = tmp_path / "vae.pt"
    pickle.write_bytes(b"PK")
    with pytest.raises(EncoderError, match="pickles are never opened"):
        check_encoder(f"wan:{pickle}")


def test_the_classes_are_those_of_the_installed_diffusers() -> None:
    from diffusers.loaders.single_file_model import (  # noqa: PLC0415  takes seconds
        SINGLE_FILE_LOADABLE_CLASSES,
    )

    assert set(READABLE) <= set(SINGLE_FILE_LOADABLE_CLASSES)


def refusal(text: str) -> str:
    with pytest.raises(EncoderError) as caught:
        load_encoder(text, CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)
