"""Text towers of the real classes with tiny random weights, and tokenizers trained on the spot."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

TEXTS = (
    "a red circle on blue",
    "a large green square on yellow, seen from the left",
    "two violet stars",
    "a teal ring beside a pink triangle on a plain white table in the morning",
)

_SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
_DECODER: dict[str, Any] = {**_SIZE, "num_key_value_heads": 2, "head_dim": 8}
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write_t5(folder: Path, *, kind: str = "T5", texts: Sequence[str] = TEXTS) -> Path:
    """Write a T5 or UMT5 encoder with its tokenizer, which ends a text with ``</s>``."""
    tokenizer = _tokenizer(texts, "$A </s>", eos="</s>", pad="<pad>")
    sizes = {"d_model": 32, "d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 2}
    config = getattr(transformers, f"{kind}Config")(vocab_size=len(tokenizer), **sizes)
    return _saved(folder, getattr(transformers, f"{kind}EncoderModel"), config, tokenizer)


def write_clip(folder: Path, *, is_projected: bool = False) -> Path:
    """Write a CLIP text model of 77 tokens."""
    tokenizer = _tokenizer(TEXTS, "<s> $A </s>", eos="</s>", pad="</s>")
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        projection_dim=24,
        **_SIZE,
    )
    name = "CLIPTextModelWithProjection" if is_projected else "CLIPTextModel"
    return _saved(folder, getattr(transformers, name), config, tokenizer)


def write_decoder(folder: Path, kind: str) -> Path:
    """Write ``Gemma2Model``, ``Qwen3ForCausalLM``, ``MistralModel`` ... with a chat template."""
    tokenizer = _tokenizer(TEXTS, "<s> $A", eos="</s>", pad="<pad>")
    tokenizer.chat_template = CHAT
    stem = kind.replace("ForCausalLM", "").replace("TextModel", "Text").removesuffix("Model")
    config = getattr(transformers, f"{stem}Config")(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **_DECODER
    )
    return _saved(folder, getattr(transformers, kind), config, tokenizer)


def _saved(folder: Path, make: Callable[..., Any], config: Any, tokenizer: Any) -> Path:
    torch.manual_seed(0)
    model = make(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(texts: Sequence[str], single: str, *, eos: str, pad: str) -> Any:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = [
        "<pad>",
        "</s>",
        "<unk>",
        "<s>",
        "<|user|>",
        "<|system|>",
        "<|end|>",
        "<|assistant|>",
    ]
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator([*texts, "abcdefghijklmnopqrstuvwxyz"] * 4, trainer)
    ids = {name: tokenizer.token_to_id(name) for name in special}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(name, ids[name]) for name in ("<s>", "</s>")]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, eos_token=eos, unk_token="<unk>", bos_token="<s>"
    )
