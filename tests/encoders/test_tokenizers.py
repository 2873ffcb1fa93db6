"""Tokenizers give the indices of their own classes, in the smallest dtype, with their codebook."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders import (
    Encoder,
    EncoderOptions,
    SampleMeta,
    check_encoder,
    load_encoder,
    named_encoder,
)
from latentcache.encoders.discrete.token_encoder import CodebookEncoder, TokenEncoder
from latentcache.testing.contract import EncoderContract
from tests.encoders.tiny_tokenizers import save_glm_image, save_tokenizer

OFFLINE = EncoderOptions(device="cpu", is_offline=True)
NAMES = ("vq", "vidtok-fsq", "flava-codebook", "chameleon-vq", "janus-vq", "emu3-vq")
SIZES = {
    "vq": (300, "uint16"), "vidtok-fsq": (8**6, "int32"), "flava-codebook": (500, "uint16"),
    "chameleon-vq": (200, "uint8"), "janus-vq": (400, "uint16"), "emu3-vq": (300, "uint16"),
    "glm-image-vq": (300, "uint16"),
}  # fmt: skip


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function: name and seed to the folder of a tiny tokenizer, one each."""

    @cache
    def folder(name: str, seed: int = 0) -> Path:
        home = tmp_path_factory.mktemp(name)
        if name == "glm-image-vq":
            return save_glm_image(home)
        return save_tokenizer(name.removesuffix("-video"), home, seed=seed)

    return folder


Tokenizer = Callable[..., Path]


def loaded(tokenizer: Tokenizer, name: str, seed: int = 0) -> TokenEncoder:
    encoder = load_encoder(f"{name}:{tokenizer(name, seed)}", OFFLINE)
    assert isinstance(encoder, TokenEncoder)
    return encoder


def pictures(num_rows: int = 2, *frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand((num_rows, 3, *frames, 32, 48), generator=generator)


def encoded(encoder: Encoder, pixels: torch.Tensor) -> torch.Tensor:
    low, high = encoder.spec.input_range
    rows = encoder.encode(pixels * (high - low) + low, [SampleMeta(key="")] * len(pixels))
    return torch.stack([row["indices"] for row in rows])


class TokenContract(EncoderContract):
    name = ""

    @pytest.fixture(autouse=True)
    def _folders(self, tokenizer: Tokenizer) -> None:
        type(self).tokenizer = staticmethod(tokenizer)

    def make_encoder(self) -> Encoder:
        return loaded(self.tokenizer, self.name)

    def make_variants(self) -> Mapping[str, Callable[[], Encoder]]:
        return {"weights": lambda: loaded(self.tokenizer, self.name, 1)}


class TestVqContract(TokenContract):
    name = "vq"


class TestVidTokFsqContract(TokenContract):
    name = "vidtok-fsq"


class TestFlavaContract(TokenContract):
    name = "flava-codebook"


class TestChameleonContract(TokenContract):
    name = "chameleon-vq"


class TestJanusContract(TokenContract):
    name = "janus-vq"


class TestEmu3Contract(TokenContract):
    name = "emu3-vq"


class TestEmu3VideoContract(TokenContract):
    name = "emu3-vq-video"


class TestGlmImageContract(TokenContract):
    name = "glm-image-vq"

    def make_variants(self) -> Mapping[str, Callable[[], Encoder]]:
        return {}


@pytest.mark.parametrize("name", [*NAMES, "glm-image-vq"])
def test_indices_are_in_the_smallest_dtype_of_the_loaded_codebook(
    name: str, tokenizer: Tokenizer
) -> None:
    spec = loaded(tokenizer, name).spec
    assert spec.codebook is not None
    assert (spec.codebook.size, spec.fields[0].dtype) == SIZES[name]
    assert bool(spec.codebook.digest) == bool(spec.codebook.dim) == (name != "flava-codebook")
    assert spec.compute_dtype == "float32"
    options = EncoderOptions(device="cpu", is_offline=True, dtype="bfloat16")
    with pytest.raises(ConfigError, match="bfloat16"):
        load_encoder(f"{name}:{tokenizer(name)}", options)


def of_class(folder: Path, name: str) -> Any:
    return getattr(transformers, name).from_pretrained(folder).eval()


def test_vq_is_quantised_which_encode_of_its_class_is_not(tokenizer: Tokenizer) -> None:
    import diffusers  # noqa: PLC0415  takes seconds

    encoder = loaded(tokenizer, "vq")
    model = diffusers.VQModel.from_pretrained(tokenizer("vq"), low_cpu_mem_usage=False).eval()
    pixels = pictures() * 2 - 1
    with torch.inference_mode():
        hidden = model.encode(pixels).latents
        codes, _, (_, _, flat) = model.quantize(hidden)
        decoded = model.decode(hidden).sample
    indices = encoded(encoder, pictures())
    assert isinstance(encoder, CodebookEncoder)
    assert torch.equal(indices.flatten(), flat)
    assert len(indices.unique()) > 3  # a codebook in use, or the test tests nothing
    ours = encoder.codes_from_indices(indices).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours, codes)
    torch.testing.assert_close(encoder.decode({"indices": indices}), decoded, atol=1e-5, rtol=1e-5)


def test_vidtok_fsq_is_what_forward_makes_of_a_clip(tokenizer: Tokenizer) -> None:
    import diffusers  # noqa: PLC0415  takes seconds

    encoder = loaded(tokenizer, "vidtok-fsq")
    model_class = diffusers.AutoencoderVidTok
    model = model_class.from_pretrained(tokenizer("vidtok-fsq"), low_cpu_mem_usage=False).eval()
    with torch.inference_mode():
        codes, expected = model(pictures(1, 5) * 2 - 1, encoder_mode=True)
    indices = encoded(encoder, pictures(1, 5))
    assert isinstance(encoder, CodebookEncoder)
    assert torch.equal(indices, expected.long())
    assert torch.equal(encoder.codes_from_indices(indices).permute(0, 4, 1, 2, 3), codes)
    assert encoder.decode({"indices": indices}).shape == (1, 3, 5, 32, 48)
    assert encoder.spec.codebook is not None
    assert encoder.spec.codebook.levels == (8,) * 6


def test_flava_is_given_pixels_as_its_processor_maps_them(tokenizer: Tokenizer) -> None:
    model = of_class(tokenizer("flava-codebook"), "FlavaImageCodebook")
    encoder = loaded(tokenizer, "flava-codebook")
    with torch.inference_mode():
        expected, unmapped = (
            model.get_codebook_indices(pixels) for pixels in (pictures() * 0.8 + 0.1, pictures())
        )
    assert torch.equal(encoded(encoder, pictures()), expected)
    assert not torch.equal(expected, unmapped)
    with pytest.raises(EncoderError, match="flava-codebook without one"):
        encoder.decode({"indices": expected})


def test_chameleon_is_given_pixels_that_end_below_one(tokenizer: Tokenizer) -> None:
    model = of_class(tokenizer("chameleon-vq"), "ChameleonVQVAE")
    processor = transformers.ChameleonImageProcessor
    assert (processor.rescale_factor, processor.image_mean) == (0.0078, [1.0] * 3)
    grey = (pictures() * 255).round()
    with torch.inference_mode():
        expected = model.encode(grey * 0.0078 - 1).image_tokens
    found = encoded(loaded(tokenizer, "chameleon-vq"), grey / 255)
    assert torch.equal(found.flatten(), expected)
    assert found.shape == (2, 8, 12)


def test_janus_decodes_at_any_size_what_its_class_decodes_at_one(tokenizer: Tokenizer) -> None:
    model = of_class(tokenizer("janus-vq"), "JanusVQVAE")
    encoder = loaded(tokenizer, "janus-vq")
    square = pictures()[:, :, :16, :16]
    with torch.inference_mode():
        tokens = model.encode(square * 2 - 1).image_tokens.view(2, -1)
        decoded = model.decode(tokens)
    indices = encoded(encoder, square)
    assert torch.equal(indices.flatten(1), tokens)
    restored = encoder.decode({"indices": indices})
    torch.testing.assert_close(restored * 2 - 1, decoded)
    assert encoder.decode({"indices": encoded(encoder, pictures())}).shape == (2, 3, 32, 48)


@pytest.mark.parametrize("name", ["emu3-vq", "emu3-vq-video"])
def test_emu3_gives_every_row_its_whole_grid(name: str, tokenizer: Tokenizer) -> None:
    frames = (8,) if name == "emu3-vq-video" else ()
    model = of_class(tokenizer(name), "Emu3VQVAE")
    pixels = pictures(2, *frames)
    given = pixels.transpose(1, 2) if frames else pixels
    big = torch.full((2, 2), 10_000)
    with torch.inference_mode():
        expected = torch.stack(model.encode(given * 2 - 1, image_sizes=big).image_tokens)
    encoder = loaded(tokenizer, name)
    indices = encoded(encoder, pixels)
    assert torch.equal(indices, expected)
    assert indices.shape == (2, *((2,) if frames else ()), 8, 12)
    assert encoder.decode({"indices": indices}).shape == pixels.shape
    assert encoder.spec.notes[0].startswith("there is no preprocessor_config.json")


def test_glm_image_is_read_out_of_the_whole_model(tokenizer: Tokenizer) -> None:
    whole = of_class(tokenizer("glm-image-vq"), "GlmImageForConditionalGeneration").model
    encoder = loaded(tokenizer, "glm-image-vq")
    pixels = pictures() * 2 - 1
    patches = pixels.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).flatten(3)
    grid = torch.tensor([[1, 2, 3]] * 2)
    with torch.inference_mode():
        features = whole.get_image_features(patches.flatten(0, 2), grid, return_dict=True)
        expected = whole.get_image_tokens(features.pooler_output, grid)
    assert torch.equal(encoded(encoder, pictures()).flatten(), expected)


def test_a_processor_beside_the_weights_says_what_is_done_to_pixels(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    of_class(tokenizer("emu3-vq"), "Emu3VQVAE").save_pretrained(tmp_path)
    told = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    encoder = load_encoder(f"emu3-vq:{tmp_path}", OFFLINE)
    assert encoder.spec.knobs["mean"] == "0.4,0.5,0.6"
    assert encoder.spec.notes == ()
    assert encoder.spec.fingerprint() != loaded(tokenizer, "emu3-vq").spec.fingerprint()
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [1, 2]}')
    with pytest.raises(EncoderError, match="must have image_mean and image_std"):
        load_encoder(f"emu3-vq:{tmp_path}", OFFLINE)


def test_other_weights_are_refused_in_a_sentence(tokenizer: Tokenizer, tmp_path: Path) -> None:
    cases = {
        f"janus-vq:{tokenizer('flava-codebook')}": "must hold a JanusVQVAE, got none of its",
        f"vidtok:{tokenizer('vidtok-fsq')}": "must have regularizer kl .* use vidtok-fsq",
        f"vq:{tokenizer('vidtok-fsq')}": "must be of class VQModel, got AutoencoderVidTok",
        f"vq:{tokenizer('vq')}?table=1": "table",
        "emu3-vq:no-such-folder": "weights must be a folder or a hub id",
    }
    for text, sentence in cases.items():
        with pytest.raises((ConfigError, EncoderError), match=sentence):
            load_encoder(text, OFFLINE)
    with pytest.raises(EncoderError, match="must hold a JanusVQVAE"):
        check_encoder(f"janus-vq:{tokenizer('flava-codebook')}", "pixels")
    config = json.loads((tokenizer("janus-vq") / "config.json").read_text())
    of_class(tokenizer("janus-vq"), "JanusVQVAE").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_embeddings": 9}))
    with pytest.raises(EncoderError, match=r"model that config\.json describes"):
        load_encoder(f"janus-vq:{tmp_path}", OFFLINE)


@pytest.mark.parametrize("name", ["vq", "vidtok-fsq"])
def test_a_folder_of_diffusers_is_found_alone(name: str, tokenizer: Tokenizer) -> None:
    assert named_encoder(str(tokenizer(name))).text == f"{name}:{tokenizer(name)}"
