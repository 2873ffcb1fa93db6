"""A loaded text tower: padded batches of token numbers in, the valid tokens' states out.

Dimension letters: B batch, L tokens with padding, N tokens, C channels, K texts of a sample.
"""

from collections.abc import Sequence
from typing import Any

import torch

from latentcache.core.errors import EncoderError
from latentcache.encoders.arithmetic import pinned_arithmetic
from latentcache.encoders.spec import EncoderSpec, SampleMeta
from latentcache.encoders.text.text_knobs import TextKnobs
from latentcache.encoders.text.text_tokens import TextTokenizer, Tokens


class TextTower:
    """Encodes texts; a row's bits depend on its text and the batch's shape alone."""

    def __init__(
        self, model: Any, tokenizer: TextTokenizer, spec: EncoderSpec, knobs: TextKnobs
    ) -> None:
        """Keep the parts.

        Args:
            model: On its device, in ``eval``.
            tokenizer: Of the model.
            spec: What is declared of them.
            knobs: How the model is read.
        """
        self.spec = spec
        self.device: torch.device = next(model.parameters()).device
        self._model, self._tokenizer, self._knobs = model, tokenizer, knobs
        self._has_pooled = any(field.name == "pooled" for field in spec.fields)

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text; touches no device."""
        return self._tokenizer.tokens(texts)

    def padded_length(self, num_tokens: int) -> int:
        """Return L of a batch of texts that have up to so many tokens."""
        return next(each for each in self._knobs.length_classes if each >= num_tokens)

    def encode(
        self, texts: Sequence[str], metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return ``z`` [N, C], ``lengths`` [1] and ``pooled`` [1, C] of each text.

        Args:
            texts: Of one padded length, for equal bits beside any neighbours.
            metas: One per text.

        Raises:
            EncoderError: There are not as many metas as texts.
        """
        if len(metas) != len(texts):
            raise EncoderError(
                f"metas must be one per text, got {len(metas)} for {len(texts)} ({self.spec.name})"
            )
        rows = [each.ids for each in self.tokens(texts)]
        length = self.padded_length(max(map(len, rows), default=1))
        ids, mask = self._padded(rows, length)
        with pinned_arithmetic(self.device, allow_tf32=False):
            states, pooled = self._forward(ids, mask)
        return [self._row(states[b], mask[b], pooled[b]) for b in range(len(texts))]

    def reset(self) -> None:
        """Do nothing: there is no state."""

    def _padded(
        self, rows: Sequence[tuple[int, ...]], length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.full((len(rows), length), self._tokenizer.pad_id, dtype=torch.int64)
        mask = torch.zeros((len(rows), length), dtype=torch.int64)
        for b, row in enumerate(rows):
            at = slice(length - len(row), None) if self._knobs.side == "left" else slice(len(row))
            ids[b, at] = torch.tensor(row, dtype=torch.int64)
            mask[b, at] = 1
        return ids.to(self.device), mask.to(self.device)

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, Sequence[torch.Tensor | None]]:
        """Return states [B, L, C], and pooled vectors [C] or None."""
        layers = self._knobs.layer_numbers
        options: dict[str, Any] = {"output_hidden_states": True} if layers else {}
        if self._knobs.mask:
            options["attention_mask"] = mask
        found = self._model(input_ids=ids, **options)
        states = found.last_hidden_state if not layers else _joined(found.hidden_states, layers)
        if not self._has_pooled:
            return states, [None] * len(ids)
        projected = getattr(found, "text_embeds", None)
        return states, list(found.pooler_output if projected is None else projected)

    def _row(
        self, states: torch.Tensor, mask: torch.Tensor, pooled: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        drop = self._knobs.drop
        valid = mask.bool().nonzero()[drop:, 0]
        if self._knobs.keep_padding:
            start = drop if self._knobs.side == "right" else 0
            kept = states[start : start + self._knobs.max_length]
        else:
            kept = states[valid]
        row = {"z": kept, "lengths": torch.tensor([len(valid)], dtype=torch.int32)}
        if pooled is not None:
            row["pooled"] = pooled[None]
        return row


def _joined(hidden: Sequence[torch.Tensor], layers: Sequence[int]) -> torch.Tensor:
    return hidden[layers[0]] if len(layers) == 1 else torch.cat([hidden[n] for n in layers], dim=-1)
