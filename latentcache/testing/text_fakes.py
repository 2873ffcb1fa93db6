"""A text encoder without weights, and one that cannot take every text: for tests of what runs them.

Dimension letters: N tokens, C channels.
"""

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from latentcache.core.config import config_from_mapping
from latentcache.core.fields import Field
from latentcache.encoders import EncoderOptions, EncoderSpec, SampleMeta

NUM_CHANNELS = 8
MARK = "unspeakable"
"""``MuteTower`` raises on a text with this word."""
SEEN_VARIABLE = "LATENTCACHE_WORDS_SEEN"
"""Names a file that gets a line of JSON for each batch, where it is set."""

_LENGTH_CLASS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WordKnobs:
    """What may be set."""

    max_length: int = 16


@dataclass(frozen=True, slots=True)
class Words:
    """One text, as the numbers of its words and one more at its end."""

    ids: tuple[int, ...]
    num_cut: int = 0


class WordTower:
    """Each word becomes a few waves, and all of a text's words know of each other."""

    def __init__(self, options: EncoderOptions) -> None:
        """Take options; there is nothing to load."""
        knobs = config_from_mapping(WordKnobs, dict(options.knobs), where="words")
        self._most = knobs.max_length
        self.device = torch.device("cpu")
        states = Field(name="z", kind="point", axes="NC", channels=NUM_CHANNELS, dtype="float16")
        lengths = Field(name="lengths", kind="aux", axes="K", channels=None, dtype="int32")
        pooled = Field(name="pooled", kind="aux", axes="KC", channels=NUM_CHANNELS, dtype="float16")
        self.spec = EncoderSpec(
            name="words",
            impl=f"latentcache.testing.text_fakes.{type(self).__name__}",
            impl_version=1,
            modality="text",
            fields=(states, lengths, pooled),
            posterior="point",
            input_range=(0.0, 0.0),
            input_channels=0,
            spatial_factor=(1, 1),
            multiple_of=(1, 1),
            compute_dtype="float32",
            weights_digest="",
            knobs={"max_length": self._most},
        )

    def tokens(self, texts: Sequence[str]) -> list[Words]:
        """Return each text's words."""
        return [self._words(text) for text in texts]

    def padded_length(self, num_tokens: int) -> int:
        """Return the next multiple of four."""
        return -(-num_tokens // _LENGTH_CLASS) * _LENGTH_CLASS

    def encode(
        self, texts: Sequence[str], metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return the fields of each text."""
        assert len(metas) == len(texts)
        self._note(texts, [meta.key for meta in metas])
        return [self.encode_text(text) for text in texts]

    def encode_text(self, text: str) -> dict[str, torch.Tensor]:
        """Return the fields of one text."""
        ids = torch.tensor(self._words(text).ids, dtype=torch.float32)
        waves = torch.sin(ids[:, None] * torch.arange(1, NUM_CHANNELS + 1) / 1000.0)
        pooled = waves.mean(0, keepdim=True)
        lengths = torch.tensor([len(ids)], dtype=torch.int32)
        return {"z": waves + 0.1 * pooled, "lengths": lengths, "pooled": pooled}

    def reset(self) -> None:
        """Do nothing."""

    def _words(self, text: str) -> Words:
        ids = [zlib.crc32(word.encode()) % 6000 for word in text.split()]
        kept = ids[: self._most - 1]
        return Words((*kept, 1), num_cut=len(ids) - len(kept))

    def _note(self, texts: Sequence[str], keys: Sequence[str]) -> None:
        if path := os.environ.get(SEEN_VARIABLE):
            named = [text for text, key in zip(texts, keys, strict=True) if key]
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(named) + "\n")


class MuteTower(WordTower):
    """Raises on marked texts, as third parties' encoders do."""

    def encode_text(self, text: str) -> dict[str, torch.Tensor]:
        """Return the fields of one text, unless it is marked."""
        if MARK in text:
            raise ValueError("this text is not to my taste")
        return super().encode_text(text)
