"""A batch of texts as the encode thread takes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from latentcache.encoders import make_metas

if TYPE_CHECKING:
    import torch

_KEY_BYTES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBatch:
    """What goes in: as many texts as the pinned batch has rows, all of one padded length.

    Attributes:
        texts: "" for filler rows.
        keys: One per text; "" for a filler row, whose output is dropped.
    """

    texts: tuple[str, ...]
    keys: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str], size: int) -> "TextBatch":
        """Return the batch of some texts, filled up to ``size`` rows."""
        fillers = ("",) * (size - len(texts))
        return cls(texts=(*texts, *fillers), keys=(*map(_key, texts), *fillers))

    @property
    def label(self) -> str:
        """What is encoded, for sentences."""
        return f"{len(self.texts)} texts"

    def only(self, positions: Sequence[int]) -> "TextBatch":
        """Return the batch with every row but ``positions`` blanked."""
        kept = set(positions)
        texts = tuple(text if p in kept else "" for p, text in enumerate(self.texts))
        return replace(
            self, texts=texts, keys=tuple(k if p in kept else "" for p, k in enumerate(self.keys))
        )

    def encoded_by(self, encoder: Any, *, seed: int) -> "Sequence[Mapping[str, torch.Tensor]]":
        """Return what ``encoder`` gives of each row."""
        found: Sequence[Mapping[str, torch.Tensor]]
        found = encoder.encode(self.texts, make_metas(self.keys, (), seed=seed))
        return found


def _key(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).hexdigest()
