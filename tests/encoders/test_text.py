"""Text towers give what their own class gives, whatever lies beside a text in its batch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import safetensors.torch
import torch
import transformers

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders import (
    EncoderOptions,
    SampleMeta,
    TextEncoder,
    check_encoder,
    load_encoder,
)
from tests.encoders.tiny_towers import TEXTS, write_clip, write_decoder, write_t5

NAMES = {
    **{name: name.rstrip("+") for name in ("t5", "umt5", "clip-text", "clip-text+")},
    "gemma": "gemma-text",
    "gemma+": "gemma-text",
    "qwen": "qwen-text",
    "mistral": "mistral-text",
}
OFFLINE = EncoderOptions(device="cpu", is_offline=True)


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each tiny tower, by the name of its family and class."""
    home = tmp_path_factory.mktemp("towers")
    return {
        "t5": write_t5(home / "t5"),
        "umt5": write_t5(home / "umt5", kind="UMT5"),
        "clip-text": write_clip(home / "clip"),
        "clip-text+": write_clip(home / "clip2", is_projected=True),
        "gemma": write_decoder(home / "gemma2", "Gemma2Model"),
        "gemma+": write_decoder(home / "gemma3", "Gemma3TextModel"),
        "qwen": write_decoder(home / "qwen3", "Qwen3ForCausalLM"),
        "mistral": write_decoder(home / "mistral", "MistralModel"),
    }


def loaded(folder: Path, name: str, knobs: str = "") -> TextEncoder:
    text = f"{NAMES[name]}:{folder}{'?' if knobs else ''}{knobs}"
    return cast(TextEncoder, load_encoder(text, OFFLINE))


def encoded(encoder: TextEncoder, texts: list[str]) -> list[dict[str, torch.Tensor]]:
    with torch.inference_mode():
        return encoder.encode(texts, [SampleMeta(key=str(n)) for n in range(len(texts))])


def own(folder: Path, **options: Any) -> Callable[[str], Any]:
    """Return what the class itself gives of one text alone, without padding."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, name).from_pretrained(folder).eval()
    model = model.base_model if "For" in name else model
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def call(text: str) -> Any:
        with torch.inference_mode():
            return model(**tokenizer(text, return_tensors="pt", **options),
                         output_hidden_states=True)  # fmt: skip

    return call


@pytest.mark.parametrize("name", ["t5", "umt5", "gemma", "gemma+", "qwen", "mistral"])
def test_a_tower_gives_the_valid_tokens_of_its_class(towers: dict[str, Path], name: str) -> None:
    call = own(towers[name])
    for row, text in zip(encoded(loaded(towers[name], name), list(TEXTS)), TEXTS, strict=True):
        expected = call(text).last_hidden_state[0]
        assert row["z"].shape == expected.shape
        assert row["lengths"].tolist() == [len(expected)]
        torch.testing.assert_close(row["z"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["qwen", "mistral"])
def test_layers_are_hidden_states_joined_along_the_channels(
    towers: dict[str, Path], name: str
) -> None:
    encoder, call = loaded(towers[name], name, "layers=1+-2"), own(towers[name])
    (row,) = encoded(encoder, [TEXTS[0]])
    hidden = call(TEXTS[0]).hidden_states
    torch.testing.assert_close(
        row["z"], torch.cat([hidden[1][0], hidden[-2][0]], dim=-1), rtol=1e-4, atol=1e-5
    )
    assert encoder.spec.fields[0].channels == row["z"].shape[1]


@pytest.mark.parametrize("name", ["clip-text", "clip-text+"])
def test_clip_gives_what_pipelines_take(towers: dict[str, Path], name: str) -> None:
    """Source: StableDiffusionXLPipeline.encode_prompt: 77 tokens, no mask, hidden_states[-2]."""
    folder = towers[name]
    saved = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, saved).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(list(TEXTS), padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.inference_mode():
        found = model(ids, output_hidden_states=True)
    pooled = found.text_embeds if name.endswith("+") else found.pooler_output
    for index, row in enumerate(encoded(loaded(folder, name), list(TEXTS))):
        assert row["z"].shape == (77, 32)
        torch.testing.assert_close(row["z"], found.hidden_states[-2][index])
        torch.testing.assert_close(row["pooled"][0], pooled[index])
        assert row["lengths"].item() == len(tokenizer(TEXTS[index]).input_ids)


@pytest.mark.parametrize("name", ["t5", "umt5", "clip-text", "gemma", "qwen", "mistral"])
def test_bits_of_a_text_depend_on_no_neighbour(towers: dict[str, Path], name: str) -> None:
    encoder = loaded(towers[name], name)
    rows = encoded(encoder, [TEXTS[0], TEXTS[1], TEXTS[2], ""])
    others = encoded(encoder, ["", "", TEXTS[0], "a b c"])
    assert torch.equal(rows[0]["z"], others[2]["z"])


def test_a_text_is_encoded_at_the_least_length_that_holds_it(towers: dict[str, Path]) -> None:
    encoder = loaded(towers["t5"], "t5", "max_length=100")
    assert [encoder.padded_length(n) for n in (1, 32, 33, 64, 65, 100)] == [
        *(32, 32, 64, 64, 100, 100)
    ]
    unmasked = loaded(towers["t5"], "t5", "max_length=100,mask=false")
    assert unmasked.padded_length(1) == 100


def test_what_is_cut_is_told_and_ends_as_texts_end(towers: dict[str, Path]) -> None:
    encoder = loaded(towers["t5"], "t5", "max_length=5")
    short, long = encoder.tokens(["a", "a red circle on blue " * 500])
    assert short.num_cut == 0
    assert len(long.ids) == 5
    assert long.num_cut > 500
    assert long.ids[-1] == short.ids[-1]  # </s>


def test_a_template_is_encoded_with_the_text_and_its_beginning_dropped(
    towers: dict[str, Path], tmp_path: Path
) -> None:
    template = tmp_path / "template.txt"
    template.write_text("a large square: {} seen")
    call = own(towers["qwen"])
    (row,) = encoded(loaded(towers["qwen"], "qwen", f"template={template},drop=3"), ["a circle"])
    whole = call("a large square: a circle seen").last_hidden_state[0]
    torch.testing.assert_close(row["z"], whole[3:], rtol=1e-4, atol=1e-5)
    (chat,) = encoded(loaded(towers["qwen"], "qwen", "template=chat"), ["a circle"])
    call = own(towers["qwen"], add_special_tokens=False)
    whole = call("<|user|>a circle<|end|><|assistant|>").last_hidden_state[0]
    torch.testing.assert_close(chat["z"], whole, rtol=1e-4, atol=1e-5)


def test_all_that_changes_a_value_changes_the_fingerprint(
    towers: dict[str, Path], tmp_path: Path
) -> None:
    plain = loaded(towers["t5"], "t5").spec.fingerprint()
    shutil.copytree(towers["t5"], tmp_path / "copy")
    assert loaded(tmp_path / "copy", "t5").spec.fingerprint() == plain
    knobs = ("max_length=64", "layers=-2", "side=left", "mask=false", "clean=lower", "drop=1")
    found = {loaded(towers["t5"], "t5", knob).spec.fingerprint() for knob in knobs}
    other = write_t5(tmp_path / "other", texts=[*TEXTS[:2], "quinces"])  # of fewer tokens
    shutil.copy(other / "tokenizer.json", tmp_path / "copy")
    found.add(loaded(tmp_path / "copy", "t5").spec.fingerprint())
    assert len(found | {plain}) == len(knobs) + 2


def test_a_tower_is_found_in_its_pipeline(towers: dict[str, Path], tmp_path: Path) -> None:
    for part, name in (("", "clip-text"), ("_2", "clip-text+"), ("_3", "t5")):
        shutil.copytree(towers[name], tmp_path / f"text_encoder{part}")
        (tmp_path / f"tokenizer{part}").mkdir()
        for path in (tmp_path / f"text_encoder{part}").glob("tokenizer*"):
            path.rename(tmp_path / f"tokenizer{part}" / path.name)
    assert (
        loaded(tmp_path, "t5").spec.fingerprint() == loaded(towers["t5"], "t5").spec.fingerprint()
    )
    with pytest.raises(EncoderError, match=r"text tower must be one, got text_encoder, text_enc.*"):
        loaded(tmp_path, "clip-text")
    both = {loaded(tmp_path, "clip-text", f"part={part}").spec.impl
            for part in ("text_encoder", "text_encoder_2")}  # fmt: skip
    assert both == {"transformers.CLIPTextModel", "transformers.CLIPTextModelWithProjection"}


def test_bad_towers_are_one_sentence(towers: dict[str, Path], tmp_path: Path) -> None:
    def broken(name: str, spoil: Callable[[Path], object]) -> str:
        shutil.copytree(towers["t5"], tmp_path / name)
        spoil(tmp_path / name)
        return f"t5:{tmp_path / name}"

    def without_a_tensor(folder: Path) -> None:
        tensors = safetensors.torch.load_file(folder / "model.safetensors")
        tensors.pop("encoder.block.1.layer.1.DenseReluDense.wo.weight")
        safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    cases = {
        broken("a", lambda f: (f / "model.safetensors").unlink()): "must hold safetensors",
        broken("b", lambda f: (f / "tokenizer.json").unlink()): "tokenizer must lie beside",
        broken("c", without_a_tensor): "weights must be complete, got 1 tensors missing",
        broken("d", lambda f: (f / "config.json").write_text("[]")): "class T5EncoderModel or",
        broken("e", lambda f: (f / "model.safetensors").write_bytes(b"x" * 99)): "must load into",
        f"t5:{towers['umt5']}": "must be of class T5EncoderModel or .* got UMT5EncoderModel",
        "t5:no-such-folder": "weights must be a folder or a hub id",
        f"t5:{towers['t5']}?layers=9": "layers must be hidden states -3 to 2, got 9",
        f"t5:{towers['t5']}?template=none.txt": "template must be one of chat, flux2, lumina2",
        f"t5:{towers['t5']}?template=chat": "must have a chat template for template=chat",
        f"t5:{towers['t5']}?max_lenght=3": "did you mean 'max_length'",
        f"clip-text:{towers['clip-text']}?max_length=78": "must be at most the model's 77, got 78",
    }
    for text, sentence in cases.items():
        with pytest.raises((ConfigError, EncoderError), match=sentence):
            load_encoder(text, OFFLINE)
    vocabulary = write_t5(tmp_path / "more", texts=["0123456789 ".join(TEXTS)])
    config = json.loads((towers["t5"] / "config.json").read_text())
    tokenizer = json.loads((vocabulary / "tokenizer.json").read_text())
    for index in range(config["vocab_size"]):
        tokenizer["model"]["vocab"].append([f"~{index}~", -9.0])
    folder = shutil.copytree(towers["t5"], tmp_path / "f")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(EncoderError, match="tokenizer must belong to its model, got token"):
        load_encoder(f"t5:{folder}", OFFLINE)


def test_wrong_files_are_refused_before_anything_is_loaded(towers: dict[str, Path]) -> None:
    check_encoder(f"t5:{towers['t5']}", "text:caption")
    with pytest.raises(EncoderError, match="got UMT5EncoderModel"):
        check_encoder(f"t5:{towers['umt5']}", "text:caption")
    with pytest.raises(EncoderError, match=r"got 'text' \(t5\); give it a text"):
        check_encoder(f"t5:{towers['t5']}", "pixels")
