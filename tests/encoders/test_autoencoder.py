"""Every family of diffusers image autoencoders, tiny and random, through the real loading."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
import torch

from latentcache.encoders import EncoderOptions, SampleMeta, load_encoder, stack_fields
from latentcache.encoders.autoencoder import Autoencoder
from latentcache.encoders.spec import Encoder
from latentcache.testing.contract import EncoderContract
from latentcache.testing.normalizing import normalize

CPU = EncoderOptions(device="cpu", is_offline=True)
SaveTiny = Callable[..., Path]
FAMILIES = {
    "kl": "AutoencoderKL",
    "flux2": "AutoencoderKLFlux2",
    "dc": "AutoencoderDC",
    "tiny": "AutoencoderTiny",
}
FACTORS = {"kl": 4, "flux2": 4, "dc": 8, "tiny": 8}


def pixels(num_rows: int = 1, edge: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(num_rows, 3, edge, edge, generator=generator) * 2 - 1


def encode(encoder: Encoder, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    return stack_fields(encoder.encode(batch, [SampleMeta(key="")] * len(batch)))


class FamilyContract(EncoderContract):
    name = ""

    @pytest.fixture(autouse=True)
    def _folders(self, save_tiny: SaveTiny) -> None:
        type(self).folder = staticmethod(
            cache(lambda seed: save_tiny(FAMILIES[self.name], seed=seed))
        )

    def load(self, seed: int, **options: str) -> Encoder:
        text = f"{self.name}:{self.folder(seed)}"
        return load_encoder(text, EncoderOptions(device="cpu", is_offline=True, **options))

    def make_encoder(self) -> Encoder:
        return self.load(0)

    def make_variants(self) -> Mapping[str, Callable[[], Encoder]]:
        return {
            "weights": lambda: self.load(1),
            "compute dtype": lambda: self.load(0, dtype="bfloat16"),
        }


class TestKlContract(FamilyContract):
    name = "kl"


class TestFlux2Contract(FamilyContract):
    name = "flux2"


class TestDcContract(FamilyContract):
    name = "dc"


class TestTinyContract(FamilyContract):
    name = "tiny"


@pytest.mark.parametrize("name", FAMILIES)
def test_factor_and_channels_are_those_of_the_weights(name: str, save_tiny: SaveTiny) -> None:
    encoder = load_encoder(f"{name}:{save_tiny(FAMILIES[name])}", CPU)
    factor = FACTORS[name]
    assert encoder.spec.spatial_factor == (factor, factor)
    # Part of every fingerprint: a key more or less makes stored latents those of another encoder.
    assert encoder.spec.knobs == {"tiling": False, "slicing": False, "allow_tf32": True}
    fields = encode(encoder, pixels())
    for field in encoder.spec.fields:
        assert fields[field.name].shape == (1, field.channels, 32 // factor, 32 // factor)
        assert fields[field.name].dtype == torch.float32


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_decode_gives_pixels_back_in_shape(name: str, dtype: str, save_tiny: SaveTiny) -> None:
    options = EncoderOptions(device="cpu", is_offline=True, dtype=dtype)
    encoder = load_encoder(f"{name}:{save_tiny(FAMILIES[name])}", options)
    assert isinstance(encoder, Autoencoder)
    assert encoder.spec.compute_dtype == dtype
    restored = encoder.decode(encode(encoder, pixels(2)))
    assert restored.shape == (2, 3, 32, 32)
    assert restored.dtype == torch.float32


def test_kl_gives_what_the_model_gives(save_tiny: SaveTiny) -> None:
    import diffusers  # noqa: PLC0415  takes seconds

    folder = save_tiny("AutoencoderKL")
    module = diffusers.AutoencoderKL.from_pretrained(folder, low_cpu_mem_usage=False).eval()
    with torch.no_grad():
        posterior = module.encode(pixels()).latent_dist
    fields = encode(load_encoder(f"kl:{folder}", CPU), pixels())
    assert torch.equal(fields["mean"], posterior.mean)
    assert torch.equal(fields["logvar"], posterior.logvar)


def test_outer_autocast_does_not_reach_the_values(save_tiny: SaveTiny) -> None:
    encoder = load_encoder(f"kl:{save_tiny('AutoencoderKL')}", CPU)
    expected = encode(encoder, pixels())["mean"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encode(encoder, pixels())["mean"], expected)


def normalized(encoder: Encoder, field: str = "mean") -> tuple[torch.Tensor, torch.Tensor]:
    assert encoder.spec.normalizer is not None
    latents = encode(encoder, pixels())[field].double()
    return latents, normalize(latents, encoder.spec.normalizer.ops, "CHW")


@pytest.mark.parametrize(
    ("name", "channels", "config", "scale", "shift"),
    [
        pytest.param("sd", 4, {"scaling_factor": 0.18215}, 0.18215, 0.0, id="sd"),
        pytest.param("sdxl", 4, {"scaling_factor": 0.13025}, 0.13025, 0.0, id="sdxl"),
        pytest.param(
            "sd3", 16, {"scaling_factor": 1.5305, "shift_factor": 0.0609}, 1.5305, 0.0609, id="sd3"
        ),
        pytest.param(
            "flux",
            16,
            {"scaling_factor": 0.3611, "shift_factor": 0.1159},
            0.3611,
            0.1159,
            id="flux",
        ),
        pytest.param("kl", 7, {"scaling_factor": 0.5}, 0.5, 0.0, id="any"),
    ],
)
def test_kl_presets_normalize_as_published(
    name: str,
    channels: int,
    config: dict[str, float],
    scale: float,
    shift: float,
    save_tiny: SaveTiny,
) -> None:
    folder = save_tiny("AutoencoderKL", latent_channels=channels, **config)
    latents, scores = normalized(load_encoder(f"{name}:{folder}", CPU))
    assert torch.allclose(scores, (latents - shift) * scale)


def test_per_channel_statistics_win_over_the_scale_alone(save_tiny: SaveTiny) -> None:
    mean, std = [-1.6574, 1.886, -1.383, 2.5155], [8.4927, 5.9022, 6.5498, 5.2299]
    folder = save_tiny("AutoencoderKL", scaling_factor=0.5, latents_mean=mean, latents_std=std)
    latents, scores = normalized(load_encoder(f"sdxl:{folder}", CPU))
    shape = (4, 1, 1)
    expected = (latents - torch.tensor(mean).view(shape)) * 0.5 / torch.tensor(std).view(shape)
    assert torch.allclose(scores, expected.double(), atol=1e-6)


def test_config_without_a_factor_falls_back_to_the_preset(save_tiny: SaveTiny) -> None:
    folder = save_tiny("AutoencoderKL")
    path = folder / "config.json"
    lines = [line for line in path.read_text().splitlines() if "scaling_factor" not in line]
    path.write_text("\n".join(lines), encoding="utf-8")
    normalizer = load_encoder(f"sdxl:{folder}", CPU).spec.normalizer
    assert normalizer is not None
    assert normalizer.source == "preset"
    assert normalizer.ops[0].values == (0.13025,)
    assert load_encoder(f"kl:{folder}", CPU).spec.normalizer is None


def test_flux2_normalizes_patches_by_its_buffers(save_tiny: SaveTiny) -> None:
    import diffusers  # noqa: PLC0415  takes seconds

    folder = save_tiny("AutoencoderKLFlux2")
    module = diffusers.AutoencoderKLFlux2.from_pretrained(folder, low_cpu_mem_usage=False)
    encoder = load_encoder(f"flux2:{folder}", CPU)
    latents, scores = normalized(encoder)
    assert scores.shape == (1, 128, 4, 4)
    assert encoder.spec.multiple_of == (8, 8)
    # As diffusers' FLUX.2 pipeline does it.
    b, c, h, w = latents.shape
    patches = latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
    patches = patches.reshape(b, c * 4, h // 2, w // 2)
    mean = module.bn.running_mean.view(1, -1, 1, 1)
    std = torch.sqrt(module.bn.running_var.view(1, -1, 1, 1) + module.config.batch_norm_eps)
    assert torch.allclose(scores, (patches - mean) / std, atol=1e-6)


def test_dc_multiplies_by_its_factor(save_tiny: SaveTiny) -> None:
    latents, scores = normalized(load_encoder(f"sana:{save_tiny('AutoencoderDC')}", CPU), "z")
    assert torch.allclose(scores, latents * 0.41407)


def test_tiny_is_in_the_space_of_the_dit(save_tiny: SaveTiny) -> None:
    latents, scores = normalized(load_encoder(f"tiny:{save_tiny('AutoencoderTiny')}", CPU), "z")
    assert torch.equal(scores, latents)


@pytest.mark.slow
def test_distilled_tiny_reconstructs_photos(shared_data: Path) -> None:
    """Known result: mean 27.2 dB over 60 photos at 256 px."""
    encoder = load_encoder(
        f"tiny:{shared_data / 'weights' / 'taef2_distilled_autoencodertiny'}", CPU
    )
    assert isinstance(encoder, Autoencoder)
    scores = []
    for path in sorted((shared_data / "captioned_coco").glob("*.jpg"))[:6]:
        batch = centre_crop(path, 256)
        fields = {"z": encode(encoder, batch)["z"].half()}
        error = (encoder.decode(fields).clamp(-1, 1) - batch).square().mean().item()
        scores.append(10 * math.log10(4 / error))
    assert 26.5 < sum(scores) / len(scores) < 28.3


def centre_crop(path: Path, edge: int) -> torch.Tensor:
    import numpy as np  # noqa: PLC0415  only this test wants them
    from PIL import Image  # noqa: PLC0415

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = edge / min(image.size)
    size = (max(edge, round(image.width * scale)), max(edge, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.LANCZOS)
    left, top = (size[0] - edge) // 2, (size[1] - edge) // 2
    cropped = np.array(image.crop((left, top, left + edge, top + edge)), dtype=np.float32)
    return torch.from_numpy(cropped).permute(2, 0, 1)[None] / 127.5 - 1
