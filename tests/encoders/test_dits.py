"""Normalization belongs to the DiT: each name is held to the code of its diffusers pipeline."""

import ast
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentcache.encoders import EncoderOptions, SampleMeta, load_encoder, stack_fields
from latentcache.encoders.presets import ALIASES, known_encoders
from latentcache.loader.transform.fused import fuse
from latentcache.testing.normalizing import denormalize, normalize

CPU = EncoderOptions(device="cpu", is_offline=True)
SaveTiny = Callable[..., Path]


def pipelines(*names: str) -> str:
    """Return the source of pipelines, without importing them."""
    spec = importlib.util.find_spec("diffusers")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent / "pipelines"
    return "\n".join((root / name).read_text(encoding="utf-8") for name in names)


def method_of(path: str, name: str, **known: Any) -> Callable[..., torch.Tensor]:
    """Return a method or function of a pipeline, compiled from its source; it sees ``known`` too.

    The pipelines themselves need transformers, which this project does without.
    """
    found = next(
        node
        for node in ast.walk(ast.parse(pipelines(path)))
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    found.decorator_list.clear()
    from diffusers.utils.torch_utils import randn_tensor  # noqa: PLC0415  takes seconds

    names: dict[str, Any] = {"torch": torch, "randn_tensor": randn_tensor, **known}
    future = ast.parse("from __future__ import annotations").body
    exec(compile(ast.Module([*future, found], []), path, "exec"), names)
    method: Callable[..., torch.Tensor] = names[name]
    return method


def latents_and_scores(
    text: str, field: str = "mean", *, axes: str = "CHW"
) -> tuple[torch.Tensor, torch.Tensor]:
    encoder = load_encoder(text, CPU)
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents = stack_fields(encoder.encode(pixels, [SampleMeta(key="")]))[field].double()
    assert encoder.spec.normalizer is not None
    ops = encoder.spec.normalizer.ops
    scores = normalize(latents, ops, axes)
    assert torch.allclose(denormalize(scores, ops, axes), latents)
    plain = [{"op": op.op, "values": op.values, "size": op.size, "axes": op.axes} for op in ops]
    fitted = fuse(plain, axes, latents.shape[1:])
    out = torch.empty((1, *fitted.shape))
    assert torch.allclose(fitted.write(latents.float(), out).double(), scores, atol=1e-5)
    return latents, scores


def test_ideogram_takes_the_buffers_by_place_then_channel(save_tiny: SaveTiny) -> None:
    import diffusers  # noqa: PLC0415  takes seconds

    source = pipelines("ideogram4/pipeline_ideogram4.py")
    assert "z = z * bn_std + bn_mean" in source
    assert "z.permute(0, 5, 1, 3, 2, 4)" in source
    folder = save_tiny("AutoencoderKLFlux2")
    latents, scores = latents_and_scores(f"ideogram4:{folder}")
    vae = diffusers.AutoencoderKLFlux2.from_pretrained(folder, low_cpu_mem_usage=False)
    # The pipeline's own steps from its tokens to the VAE's latents.
    tokens = scores.flatten(2).transpose(1, 2)
    std = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps).view(1, 1, -1)
    z = tokens * std + vae.bn.running_mean.view(1, 1, -1)
    grid = z.view(1, *scores.shape[2:], 2, 2, 32).permute(0, 5, 1, 3, 2, 4)
    assert torch.allclose(grid.reshape(latents.shape), latents, atol=1e-6)


def test_ernie_adds_its_own_eps(save_tiny: SaveTiny) -> None:
    import diffusers  # noqa: PLC0415  takes seconds

    path = "ernie_image/pipeline_ernie_image.py"
    assert "self.vae.bn.running_var.view(1, -1, 1, 1) + 1e-5" in pipelines(path)
    folder = save_tiny("AutoencoderKLFlux2")
    vae = diffusers.AutoencoderKLFlux2.from_pretrained(folder, low_cpu_mem_usage=False)
    assert vae.config.batch_norm_eps != 1e-5
    latents, scores = latents_and_scores(f"ernie-image:{folder}")
    std = torch.sqrt(vae.bn.running_var.double() + 1e-5).view(1, -1, 1, 1)
    patches = method_of(path, "_patchify_latents")(latents)
    assert torch.allclose(scores, (patches - vae.bn.running_mean.view(1, -1, 1, 1)) / std)


def test_sana_sprint_is_what_its_pipeline_prepares(save_tiny: SaveTiny) -> None:
    import diffusers  # noqa: PLC0415  takes seconds
    from diffusers import SCMScheduler  # noqa: PLC0415

    folder = save_tiny("AutoencoderDC")
    latents, scores = latents_and_scores(f"sana-sprint:{folder}", "z")
    vae = diffusers.AutoencoderDC.from_pretrained(folder, low_cpu_mem_usage=False)
    encoded = SimpleNamespace(latent=latents)
    ours = SimpleNamespace(
        vae=SimpleNamespace(encode=lambda _: encoded, config=vae.config),
        scheduler=SCMScheduler(),
        vae_scale_factor=8,
    )
    # At the end of its schedule no noise is left: cos(0) of the latents, sin(0) of the noise.
    prepare = method_of("sana/pipeline_sana_sprint_img2img.py", "prepare_latents")
    prepared = prepare(
        ours, torch.zeros(1, 3, 32, 32), torch.zeros(1), 1, 32, 32, 32,
        torch.float64, torch.device("cpu"), torch.Generator(),
    )  # fmt: skip
    assert torch.allclose(prepared.double(), scores)


@pytest.mark.parametrize(
    ("name", "sources", "formula", "config", "expected"),
    [
        pytest.param(
            "glm-image",
            ["glm_image/pipeline_glm_image.py"],
            r"condition_latent = \(condition_latent - latents_mean\) / latents_std",
            {"latents_mean": [0.1] * 4, "latents_std": [2.0] * 4, "scaling_factor": 0.18215},
            lambda z: (z - 0.1) / 2.0,
            id="glm-image",
        ),
        pytest.param(
            "kandinsky5-image",
            ["kandinsky5/pipeline_kandinsky_i2i.py"],
            r"image_latents = image_latents \* self.vae.config.scaling_factor",
            {"latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159},
            lambda z: z * 0.3611,
            id="kandinsky5-image",
        ),
    ],
)
def test_kl_models_with_rules_of_their_own(
    name: str,
    sources: list[str],
    formula: str,
    config: dict[str, Any],
    expected: Callable[[torch.Tensor], torch.Tensor],
    save_tiny: SaveTiny,
) -> None:
    source = pipelines(*sources)
    assert re.search(formula, source)
    assert "shift_factor" not in source
    latents, scores = latents_and_scores(f"{name}:{save_tiny('AutoencoderKL', **config)}")
    assert torch.allclose(scores, expected(latents))


def test_sana_video_leaves_latents_of_a_dc_as_they_are(save_tiny: SaveTiny) -> None:
    source = pipelines("sana_video/pipeline_sana_video_i2v.py")
    assert "scaling_factor" not in source
    assert "_latents_mean = torch.zeros(image_latents.shape[1]" in source
    latents, scores = latents_and_scores(f"sana-video-dc:{save_tiny('AutoencoderDC')}", "z")
    assert torch.equal(latents, scores)


_SCALE_AND_SHIFT = (
    r"latents / (self\.vae\.config\.)?scaling_factor\) \+ (self\.vae\.config\.)?shift"
)
_MEAN_AND_STD = r"vae\.config\.latents_std"
_SCALE = r"self\.vae\.config\.scaling_factor"

_SOURCES = {
    "chroma": ("chroma/pipeline_chroma.py", _SCALE_AND_SHIFT),
    "hidream": ("hidream_image/pipeline_hidream_image.py", _SCALE_AND_SHIFT),
    "longcat-image": ("longcat_image/pipeline_longcat_image.py", _SCALE_AND_SHIFT),
    "lumina2": ("lumina2/pipeline_lumina2.py", _SCALE_AND_SHIFT),
    "ovis-image": ("ovis_image/pipeline_ovis_image.py", _SCALE_AND_SHIFT),
    "z-image": ("z_image/pipeline_z_image_img2img.py", _SCALE_AND_SHIFT),
    "prx": ("prx/pipeline_prx.py", _SCALE_AND_SHIFT),
    "bria": ("bria/pipeline_bria.py", r"scaling_factor\) \+ self\.vae\.config\.shift_factor"),
    "bria-fibo2": ("bria_fibo2/pipeline_bria_fibo2.py", r"running_var \+ self\.vae\.config\.batch"),
    "krea2": ("krea2/pipeline_krea2.py", _MEAN_AND_STD),
    "nucleus": ("nucleusmoe_image/pipeline_nucleusmoe_image.py", _MEAN_AND_STD),
    "anyflow": ("anyflow/pipeline_anyflow.py", _MEAN_AND_STD),
    "chronoedit": ("chronoedit/pipeline_chronoedit.py", _MEAN_AND_STD),
    "cosmos2": ("cosmos/pipeline_cosmos2_video2world.py", _MEAN_AND_STD),
    "cosmos2.5": ("cosmos/pipeline_cosmos2_5_predict.py", _MEAN_AND_STD),
    "cosmos3": ("cosmos/pipeline_cosmos3_omni.py", _MEAN_AND_STD),
    "helios": ("helios/pipeline_helios.py", _MEAN_AND_STD),
    "joyimage": ("joyimage/pipeline_joyimage_edit.py", _MEAN_AND_STD),
    "motif-video": ("motif_video/pipeline_motif_video.py", _MEAN_AND_STD),
    "skyreels-v2": ("skyreels_v2/pipeline_skyreels_v2.py", _MEAN_AND_STD),
    "bria-fibo": ("bria_fibo/pipeline_bria_fibo.py", _MEAN_AND_STD),
    "lucy": ("lucy/pipeline_lucy_edit.py", _MEAN_AND_STD),
    "kandinsky5-video": ("kandinsky5/pipeline_kandinsky.py", _SCALE),
    "kandinsky6": ("kandinsky6/pipeline_kandinsky6_ti2va.py", _SCALE),
    "sana-wm": (
        "sana_wm/pipeline_sana_wm.py",
        r"\(z - latents_mean\) \* self\.vae\.config\.scaling_factor / latents_std",
    ),
}


@pytest.mark.parametrize("name", sorted(set(ALIASES) - {"sana", "flux1", "magvit", "movq"}))
def test_another_models_name_stands_for_a_preset_of_its_class_and_formula(name: str) -> None:
    path, formula = _SOURCES[name]
    source = pipelines(path)
    assert re.search(formula, source), name
    declared = re.search(r"^\s+vae: (\w+)", source, re.MULTILINE)
    assert declared is not None
    assert known_encoders()[ALIASES[name]].spec.impl == f"diffusers.{declared[1]}"
    if formula in (_MEAN_AND_STD, _SCALE):
        assert "shift_factor" not in source


_FIGURES = ("latents_mean", "latents_std", "scaling_factor", "shift_factor")


def statements_before_decoding(path: str) -> str:
    """Return what a pipeline does with a VAE's figures in the block in which it decodes."""
    for node in ast.walk(ast.parse(pipelines(path))):
        for block in (getattr(node, name, None) for name in ("body", "orelse")):
            for at, statement in enumerate(block if isinstance(block, list) else ()):
                is_plain = isinstance(statement, ast.Assign | ast.Return)
                if is_plain and "self.vae.decode(" in ast.unparse(statement):
                    before = [ast.unparse(each) for each in block[:at]]
                    return "\n".join(each for each in before if any(f in each for f in _FIGURES))
    raise AssertionError(f"{path} decodes")


@pytest.mark.parametrize(
    "name",
    [
        *("chroma", "hidream", "longcat-image", "lumina2", "ovis-image", "z-image", "prx", "bria"),
        *("krea2", "nucleus", "anyflow", "cosmos2", "skyreels-v2", "bria-fibo", "lucy"),
        *("kandinsky5-video", "sana-wm"),
    ],
)
def test_a_pipeline_s_own_code_turns_scores_back_into_latents(
    name: str, save_tiny: SaveTiny
) -> None:
    import diffusers  # noqa: PLC0415  takes seconds

    preset = ALIASES[name]
    kl = {"scaling_factor": 0.3611, "shift_factor": 0.1159, "latent_channels": 16}
    folder = save_tiny("AutoencoderKL", **kl) if preset in ("flux", "kl") else save_tiny(preset)
    encoder = load_encoder(f"{name}:{folder}", CPU)
    vae_class = getattr(diffusers, encoder.spec.impl.removeprefix("diffusers."))
    vae = vae_class.from_pretrained(folder, low_cpu_mem_usage=False)
    field = encoder.spec.fields[0]
    shape = (1, field.channels, *(2 for axis in field.axes[1:]))
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(1)).double()
    assert encoder.spec.normalizer is not None
    scores = normalize(latents, encoder.spec.normalizer.ops, "".join(field.axes))
    names: dict[str, Any] = {
        "self": SimpleNamespace(
            vae=vae, scheduler=SimpleNamespace(config=SimpleNamespace(sigma_data=1.0))
        ),
        "torch": torch,
        "latents": scores,
        "video": scores,
        "latents_device": scores.device,
        "latents_dtype": scores.dtype,
    }
    code = statements_before_decoding(_SOURCES[name][0])
    assert code
    exec(compile(code, name, "exec"), names)
    given = names.get("latents_scaled", names["video"])
    decoded = given if given is not scores else names["latents"]
    assert decoded is not scores
    assert torch.allclose(decoded.double(), latents, atol=1e-5)
