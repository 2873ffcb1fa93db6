"""Autoencoders of 2025 and 2026: each by the real class, and held to its pipeline's own code."""

import ast
import importlib.util
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders import EncoderOptions, SampleMeta, check_encoder, load_encoder
from latentcache.encoders.autoencoder import Autoencoder
from latentcache.encoders.spec import Encoder
from latentcache.testing.contract import EncoderContract
from latentcache.testing.normalizing import normalize
from tests.encoders.test_dits import method_of

OPTIONS = EncoderOptions(device="cpu", is_offline=True)
SaveTiny = Callable[..., Path]
TinyVideo = Callable[..., tuple[Autoencoder, Any]]
Clip = Callable[..., torch.Tensor]
Encode = Callable[..., dict[str, torch.Tensor]]

PICTURES = {
    "qwen21": "AutoencoderKLQwenImage21",
    "hunyuan-image": "AutoencoderKLHunyuanImage",
    "hunyuan-image-refiner": "AutoencoderKLHunyuanImageRefiner",
    "kvae": "AutoencoderKLKVAE",
    "asymmetric": "AsymmetricAutoencoderKL",
    "rae": "AutoencoderRAE",
}
CLIPS = ("minimax-h3", "kvae-video", "kandinsky6-sr", "easyanimate", "vidtok")


class NewContract(EncoderContract):
    name = ""

    @pytest.fixture(autouse=True)
    def _folders(self, save_tiny: SaveTiny) -> None:
        saved = PICTURES.get(self.name, self.name)
        type(self).folder = staticmethod(cache(lambda seed: save_tiny(saved, seed=seed)))

    def make_encoder(self) -> Encoder:
        return load_encoder(f"{self.name}:{self.folder(0)}", OPTIONS)

    def make_variants(self) -> Mapping[str, Callable[[], Encoder]]:
        return {"weights": lambda: load_encoder(f"{self.name}:{self.folder(1)}", OPTIONS)}


class TestQwen21Contract(NewContract):
    name = "qwen21"


class TestHunyuanImageContract(NewContract):
    name = "hunyuan-image"


class TestRefinerContract(NewContract):
    name = "hunyuan-image-refiner"


class TestKvaeContract(NewContract):
    name = "kvae"


class TestAsymmetricContract(NewContract):
    name = "asymmetric"


class TestRaeContract(NewContract):
    name = "rae"


class TestMiniMaxH3Contract(NewContract):
    name = "minimax-h3"


class TestKvaeVideoContract(NewContract):
    name = "kvae-video"


class TestKandinsky6SrContract(NewContract):
    name = "kandinsky6-sr"


class TestEasyAnimateContract(NewContract):
    name = "easyanimate"


class TestVidTokContract(NewContract):
    name = "vidtok"


@pytest.fixture(scope="module")
def loaded(save_tiny: SaveTiny) -> Callable[[str], tuple[Autoencoder, Any]]:
    """Return a function: preset to our encoder and the diffusers model it wraps; one each."""

    @cache
    def load(name: str) -> tuple[Autoencoder, Any]:
        import diffusers  # noqa: PLC0415  takes seconds

        encoder = load_encoder(f"{name}:{save_tiny(PICTURES.get(name, name))}", OPTIONS)
        assert isinstance(encoder, Autoencoder)
        folder = save_tiny(PICTURES.get(name, name))
        model_class = getattr(diffusers, encoder.spec.impl.removeprefix("diffusers."))
        return encoder, model_class.from_pretrained(folder).eval()

    return load


Loaded = Callable[[str], tuple[Autoencoder, Any]]


def picture(num_rows: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(num_rows, 3, 32, 48, generator=generator) * 2 - 1


def scores_of(encoder: Encoder, latents: torch.Tensor) -> torch.Tensor:
    assert encoder.spec.normalizer is not None
    axes = encoder.spec.fields[0].axes
    return normalize(latents.double(), encoder.spec.normalizer.ops, axes).float()


def always_the_mean(vae: Any) -> Any:
    """Return a VAE for a pipeline's code whose draws are means, to compare with."""

    def encode(pixels: torch.Tensor, **_: Any) -> Any:
        posterior = vae.encode(pixels).latent_dist
        drawn = SimpleNamespace(
            sample=lambda generator=None: posterior.mean,  # noqa: ARG005
            mode=lambda: posterior.mean,
        )
        return _Output(drawn)

    return SimpleNamespace(
        encode=encode, config=vae.config, dtype=torch.float32, device=torch.device("cpu")
    )


class _Output(tuple[Any]):
    """Of ``encode``, with and without ``return_dict``."""

    def __new__(cls, posterior: Any) -> "_Output":
        made = super().__new__(cls, (posterior,))
        made.latent_dist = posterior
        return made

    latent_dist: Any


def retrieve_latents(output: Any, generator: Any = None, sample_mode: str = "sample") -> Any:
    assert sample_mode in ("sample", "argmax")
    return output.latent_dist.sample(generator)


def test_qwen_image_21_is_what_its_pipeline_encodes(loaded: Loaded, encode: Encode) -> None:
    encoder, vae = loaded("qwen21")
    path = "qwenimage21/pipeline_qwenimage21.py"
    method = method_of(path, "_encode_vae_image", retrieve_latents=retrieve_latents)
    # The pipeline makes every picture RGBA, and 255 of alpha is 1 between -1 and 1.
    opaque = torch.cat([picture(), torch.ones(1, 1, 32, 48)], dim=1)[:, :, None]
    ours = SimpleNamespace(vae=always_the_mean(vae), latent_channels=64)
    with torch.inference_mode():
        expected = method(ours, opaque, None)
    fields = encode(encoder, picture())
    assert fields["mean"].shape == (1, 64, 8, 12)
    torch.testing.assert_close(scores_of(encoder, fields["mean"]), expected[:, :, 0])
    assert encoder.spec.knobs["alpha"] == "opaque"
    assert encoder.decode(fields).shape == (1, 3, 32, 48)


def test_qwen_image_21_drops_a_second_frame_so_that_it_takes_pictures_alone(
    loaded: Loaded, clip: Clip
) -> None:
    encoder, vae = loaded("qwen21")
    frames = torch.cat([clip(4), torch.ones(1, 1, 4, 32, 64)], dim=1)
    with torch.inference_mode():
        whole, first = (vae.encode(part).latent_dist.mean for part in (frames, frames[:, :, :1]))
    assert torch.equal(whole, first)
    with pytest.raises(EncoderError, match="must be BCHW"):
        encoder.encode(clip(5), [SampleMeta(key="")])


def test_the_refiner_gets_what_its_pipeline_encodes(loaded: Loaded, encode: Encode) -> None:
    encoder, vae = loaded("hunyuan-image-refiner")
    path = "hunyuan_image/pipeline_hunyuanimage_refiner.py"
    method = method_of(path, "_encode_vae_image", retrieve_latents=retrieve_latents)
    reorder = method_of(path, "_reorder_image_tokens")
    ours = SimpleNamespace(vae=always_the_mean(vae), _reorder_image_tokens=reorder)
    with torch.inference_mode():
        expected = method(ours, picture()[:, :, None], None)
    scores = scores_of(encoder, encode(encoder, picture())["mean"])
    # Its DiT is given each latent twice, one after the other along the channels.
    torch.testing.assert_close(torch.cat([scores, scores], dim=1), expected[:, :, 0])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("hunyuan-image", "hunyuan_image/pipeline_hunyuanimage.py"),
        ("easyanimate", "easyanimate/pipeline_easyanimate.py"),
    ],
)
def test_scores_decode_by_the_pipelines_own_line(
    name: str, path: str, loaded: Loaded, encode: Encode, clip: Clip
) -> None:
    from tests.encoders.test_dits import statements_before_decoding  # noqa: PLC0415

    encoder, vae = loaded(name)
    pixels = clip(5) if encoder.spec.modality == "video" else picture()
    latents = encode(encoder, pixels)["mean"]
    names: dict[str, Any] = {
        "self": SimpleNamespace(vae=vae),
        "latents": scores_of(encoder, latents),
    }
    exec(statements_before_decoding(path), names)
    torch.testing.assert_close(names["latents"], latents)
    with torch.inference_mode():
        torch.testing.assert_close(latents, vae.encode(pixels).latent_dist.mean)


def test_the_asymmetric_one_encodes_as_the_inpainting_pipeline(
    loaded: Loaded, encode: Encode
) -> None:
    encoder, vae = loaded("asymmetric")
    path = "stable_diffusion/pipeline_stable_diffusion_inpaint.py"
    method = method_of(path, "_encode_vae_image", retrieve_latents=retrieve_latents)
    with torch.inference_mode():
        expected = method(SimpleNamespace(vae=always_the_mean(vae)), picture(), None)
    scores = scores_of(encoder, encode(encoder, picture())["mean"])
    torch.testing.assert_close(scores, expected)


def test_kandinsky_6_sr_is_given_pixels_over_128(
    loaded: Loaded, encode: Encode, clip: Clip
) -> None:
    encoder, vae = loaded("kandinsky6-sr")
    grey = ((clip(5) + 1) * 127.5).round()
    low, high = encoder.spec.input_range
    ours = grey / 255 * (high - low) + low
    torch.testing.assert_close(ours, grey / 128 - 1)
    method = method_of("kandinsky6/pipeline_kandinsky6_sr.py", "encode_video")
    with torch.inference_mode():
        expected = method(SimpleNamespace(vae=always_the_mean(vae)), grey / 127.5 - 1)
    scores = scores_of(encoder, encode(encoder, ours)["mean"])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_frames", [1, 5, 22])
def test_minimax_h3_is_what_its_pipeline_makes_of_a_condition(
    num_frames: int, loaded: Loaded, encode: Encode, clip: Clip
) -> None:
    encoder, vae = loaded("minimax-h3")
    spec = importlib.util.find_spec("diffusers")
    assert spec is not None
    assert spec.origin is not None
    blocks = Path(spec.origin).parent / "modular_pipelines" / "minimax_h3"
    tree = ast.parse((blocks / "encoders.py").read_text(encoding="utf-8"))
    found = next(node for node in tree.body if getattr(node, "name", "") == "encode_vae_condition")
    names: dict[str, Any] = {"torch": torch}
    exec(compile(ast.Module([found], []), "encoders.py", "exec"), names)
    grey = ((clip(num_frames) + 1) * 127.5).round()
    assert "0.485, 0.456, 0.406" in (blocks / "modular_pipeline.py").read_text(encoding="utf-8")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    with torch.inference_mode():
        expected = names["encode_vae_condition"](always_the_mean(vae), grey.byte(), mean, std)
    latents = encode(encoder, grey / 255)["mean"]
    # The pipeline rounds its latents to float16.
    torch.testing.assert_close(scores_of(encoder, latents), expected, atol=2e-3, rtol=2e-3)
    rule = encoder.spec.frame_rule
    assert latents.shape[2] == rule.num_latent_frames(num_frames)


def test_minimax_h3_refuses_clips_whose_end_would_not_count(loaded: Loaded, clip: Clip) -> None:
    encoder, vae = loaded("minimax-h3")
    changed = clip(17).clone()
    changed[:, :, 5:] = 0
    with torch.inference_mode():
        same = [vae.encode(each).latent_dist.mean for each in (clip(17), changed)]
    assert torch.equal(*same)  # frames 6 to 17 change nothing
    with pytest.raises(EncoderError, match=r"17 frames, minimax-h3 takes 1, or 5 \+ k \* 17"):
        encoder.encode(clip(17), [SampleMeta(key="")])


def test_minimax_h3_has_the_tiles_of_the_class_where_they_are_asked_for(
    save_tiny: SaveTiny, clip: Clip, encode: Encode
) -> None:
    folder = save_tiny("minimax-h3")
    frame = (clip(1, 32, 320) + 1) / 2
    whole, tiled = (
        load_encoder(f"minimax-h3:{folder}{knobs}", OPTIONS) for knobs in ("", "?tile_px=256")
    )
    assert whole.spec.fingerprint() != tiled.spec.fingerprint()
    first, second = (encode(each, frame)["mean"] for each in (whole, tiled))
    assert first.shape == second.shape
    assert not torch.allclose(first, second, atol=1e-3)
    with pytest.raises(ConfigError, match="tile_px must be 0 or 256, got 128"):
        load_encoder(f"minimax-h3:{folder}?tile_px=128", OPTIONS)


def test_kvae_of_clips_is_a_point_whatever_diffusers_draws(
    loaded: Loaded, encode: Encode, clip: Clip
) -> None:
    encoder, vae = loaded("kvae-video")
    assert [field.name for field in encoder.spec.fields] == ["z"]
    whole = clip(21)
    with torch.inference_mode():
        posterior = vae.encode(whole[:, :, :5]).latent_dist
    assert torch.equal(posterior.std, torch.ones_like(posterior.std))
    short, middle, long = (encode(encoder, whole[:, :, :count])["z"] for count in (5, 17, 21))
    torch.testing.assert_close(short, posterior.mean)
    # Its norms count over the first 17 frames: fewer have other latents, so it is not causal.
    assert not torch.allclose(long[:, :, :2], short, atol=1e-2)
    assert torch.equal(long[:, :, :5], middle)


@pytest.mark.parametrize("name", ["kvae-video", "kandinsky6-sr"])
def test_segments_in_pieces_are_the_whole_clip(
    name: str, loaded: Loaded, encode: Encode, clip: Clip
) -> None:
    encoder, _ = loaded(name)
    whole = encode(encoder, clip(37))
    stream = encoder.open(32, 64)
    parts = [stream.push(piece) for piece in clip(37)[0].split(7, dim=1)] + [stream.close()]
    given = [part for part in parts if part]
    assert len(given) == 3
    for name_, values in whole.items():
        assert torch.equal(torch.cat([part[name_] for part in given], dim=1), values[0])


def test_a_failed_clip_does_not_spoil_easyanimate(
    loaded: Loaded, encode: Encode, clip: Clip
) -> None:
    encoder, vae = loaded("easyanimate")
    expected = encode(encoder, clip(5))["mean"]
    with torch.inference_mode():
        with pytest.raises(ValueError, match="non-empty list"):
            vae.encode(clip(3))
        try:
            spoilt = not torch.equal(vae.encode(clip(5)).latent_dist.mean, expected)
        except (RuntimeError, ValueError):
            spoilt = True
    assert spoilt  # the class keeps what the failed clip left
    with pytest.raises(EncoderError, match=r"takes 1 \+ k \* 4"):
        encoder.encode(clip(3), [SampleMeta(key="")])
    assert torch.equal(encode(encoder, clip(5))["mean"], expected)


def test_vidtok_is_padded_as_it_was_trained(loaded: Loaded, encode: Encode, clip: Clip) -> None:
    encoder, vae = loaded("vidtok")
    fields = encode(encoder, clip(17))
    assert fields["mean"].shape[2] == 5
    with torch.inference_mode():
        assert torch.equal(fields["mean"], vae(clip(17), encoder_mode=True, sample_posterior=False))
        # What its `encode` does by itself: frames beyond the last four are dropped.
        dropped = [vae.encode(clip(19)[:, :, :count]).latent_dist.mean for count in (16, 17, 19)]
    assert all(torch.equal(each, dropped[0]) for each in dropped)
    assert encoder.decode(fields).shape == clip(17).shape


def test_vidtok_of_another_kind_is_refused(save_tiny: SaveTiny) -> None:
    with pytest.raises(EncoderError, match="must have is_causal, got a VidTok that looks ahead"):
        load_encoder(f"vidtok:{save_tiny('vidtok', is_causal=False)}", OPTIONS)


def test_rae_gives_what_its_own_figures_have_normalized(loaded: Loaded, encode: Encode) -> None:
    encoder, vae = loaded("rae")
    assert encoder.spec.fixed_size == (64, 64)  # its decoder's, not the 56 of its vision model
    pixels = (picture()[..., :32].repeat(1, 1, 2, 2) + 1) / 2
    z = encode(encoder, pixels)["z"]
    with torch.inference_mode():
        assert torch.equal(z, vae.encode(pixels).latent)
        raw = vae._denormalize_latents(z)
    assert torch.equal(scores_of(encoder, z), z)
    torch.testing.assert_close((raw - vae._latents_mean) / (vae._latents_std + 1e-5), z)
    assert encoder.decode({"z": z}).shape == pixels.shape
    with pytest.raises(EncoderError, match="is not 64x64 px, the only size rae takes"):
        encoder.encode(torch.rand(1, 3, 64, 96), [SampleMeta(key="")])


def test_the_scale_of_rae_is_in_its_fingerprint_and_that_of_kl_is_not(save_tiny: SaveTiny) -> None:
    def fingerprints(preset: str, saved: str) -> set[str]:
        specs = (
            load_encoder(f"{preset}:{save_tiny(saved, scaling_factor=scale)}", OPTIONS).spec
            for scale in (1.0, 0.5)
        )
        return {spec.fingerprint() for spec in specs}

    assert len(fingerprints("rae", "AutoencoderRAE")) == 2
    assert len(fingerprints("kl", "AutoencoderKL")) == 1


def test_rae_without_a_grid_is_refused(save_tiny: SaveTiny) -> None:
    with pytest.raises(EncoderError, match=r"reshape_to_2d for rae.*dinov2:WEIGHTS"):
        load_encoder(f"rae:{save_tiny('AutoencoderRAE', reshape_to_2d=False)}", OPTIONS)


@pytest.mark.parametrize("name", [*PICTURES, *CLIPS])
def test_a_new_class_is_found_by_its_folder_alone(name: str, save_tiny: SaveTiny) -> None:
    from latentcache.encoders import named_encoder  # noqa: PLC0415

    folder = save_tiny(PICTURES.get(name, name))
    assert named_encoder(str(folder)).text == f"{name}:{folder}"
    check_encoder(f"{name}:{folder}", "pixels")
