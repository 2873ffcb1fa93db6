"""From a text to a tower's token numbers: cleaned, put into a template, cut at a length."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from latentcache.core.errors import EncoderError
from latentcache.core.fingerprint import canonical_json
from latentcache.encoders.text.templates import Template
from latentcache.encoders.text.text_knobs import TextKnobs, cleaned


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text as its model reads it.

    Attributes:
        ids: At most ``max_length`` numbers, those that the template drops not counted.
        num_cut: Tokens that were left out because the text is longer.
    """

    ids: tuple[int, ...]
    num_cut: int = 0


class TextTokenizer:
    """A tokenizer of transformers with the knobs of a tower."""

    def __init__(self, tokenizer: Any, knobs: TextKnobs, template: Template) -> None:
        """Keep the parts.

        Args:
            tokenizer: A ``PreTrainedTokenizerFast``.
            knobs: Of the tower.
            template: That the knobs name.
        """
        self._tokenizer, self._knobs, self._template = tokenizer, knobs, template
        self._most = knobs.max_length + knobs.drop
        self.pad_id = int(_pad_id(tokenizer))

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text, special ones included."""
        if not texts:
            return []
        shown = [self._laid_out(text) for text in texts]
        has_special = not self._template.is_chat
        whole = self._ids(shown, add_special_tokens=has_special)
        long = [index for index, ids in enumerate(whole) if len(ids) > self._most]
        found = [Tokens(tuple(ids)) for ids in whole]
        if long:
            # Cut by the tokenizer: its last token says that the text ends.
            cut = self._ids(
                [shown[index] for index in long],
                add_special_tokens=has_special,
                truncation=True,
                max_length=self._most,
            )
            for index, ids in zip(long, cut, strict=True):
                found[index] = Tokens(tuple(ids), num_cut=len(whole[index]) - len(ids))
        return found

    def digest(self) -> str:
        """Return the SHA-256 over all that decides which numbers a text gets."""
        backend = self._tokenizer.backend_tokenizer
        facts = {
            # Whoever used the tokenizer last has left its own padding and cutting in it.
            **_without_state(backend.to_str()),
            "special": {
                name: str(value) for name, value in self._tokenizer.special_tokens_map.items()
            },
        }
        if self._template.is_chat:
            facts["chat_template"] = str(self._tokenizer.chat_template)
        return hashlib.sha256(canonical_json(facts).encode()).hexdigest()

    def _ids(self, texts: list[str], **options: Any) -> list[list[int]]:
        found: list[list[int]] = self._tokenizer(texts, verbose=False, **options)["input_ids"]
        return found

    def _laid_out(self, text: str) -> str:
        text = cleaned(text, self._knobs.clean)
        template = self._template
        if not template.is_chat:
            return template.text.replace("{}", text) if template.text else text
        messages = [{"role": "user", "content": text}]
        if template.system:
            messages.insert(0, {"role": "system", "content": template.system})
        laid: str = self._tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=template.has_prompt,
            enable_thinking=self._knobs.think,
        )
        return laid


def check_tokenizer(tokenizer: Any, *, num_embeddings: int, is_chat: bool, label: str) -> None:
    """Refuse a tokenizer that cannot be the model's.

    Args:
        tokenizer: As it was loaded.
        num_embeddings: Tokens that the model knows.
        is_chat: A chat template is asked of it.
        label: Where it lies, for the sentence.

    Raises:
        EncoderError: It gives numbers that the model has no embedding for, or is no fast one.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise EncoderError(
            f"tokenizer must be one of the tokenizers library, got {type(tokenizer).__name__} "
            f"({label}); save it anew with a current transformers"
        )
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= num_embeddings:
        raise EncoderError(
            f"tokenizer must belong to its model, got token {highest:,} for a model of "
            f"{num_embeddings:,} tokens ({label}); take both from one folder"
        )
    if is_chat and not tokenizer.chat_template:
        raise EncoderError(
            f"tokenizer must have a chat template for template=chat, got none ({label}); take "
            "that of the instruction-tuned model, or another template"
        )


def _pad_id(tokenizer: Any) -> int:
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    return 0


def _without_state(text: str) -> dict[str, Any]:

    facts: dict[str, Any] = json.loads(text)
    return {name: value for name, value in facts.items() if name not in ("padding", "truncation")}
