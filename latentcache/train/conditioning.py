"""From a batch's column to what a model is told: labels or text, and leaving them out.

Dimension letters: B batch, L text tokens, D their width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latentcache.core.errors import ConfigError
from latentcache.loader import LatentLoader
from latentcache.loader.transform import keyed_normal
from latentcache.train.flow import DROP_STREAM, Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """Which column a model is told, and how "nothing" is said to it.

    Attributes:
        column: Of the batch; None tells the model nothing.
        num_classes: Labels are below it, and it is "no label"; None where it is text.
        text_dim: Width of text embeddings; None where it is labels.
        empty_text: The embedding that stands for a dropped text, [N, D]; None drops all tokens.
    """

    column: str | None
    num_classes: int | None
    text_dim: int | None
    empty_text: Tensor | None = None

    def __post_init__(self) -> None:
        if self.column is not None and self.num_classes is None and self.text_dim is None:
            raise ConfigError(
                f"condition must be left out for a model without num_classes and text_dim, got "
                f"{self.column!r}; give the model one of them (recipe: dit.num_classes)"
            )

    def read(self, batch: Mapping[str, Any], device: torch.device) -> Condition | None:
        """Return the condition of a batch.

        Raises:
            ConfigError: The batch has no such column, or its values do not fit the model.
        """
        if self.column is None:
            return None
        if self.column not in batch:
            raise ConfigError(
                f"condition must be a column that the loader reads, got {self.column!r} among "
                f"{', '.join(batch)}; add it to the loader's columns"
            )
        values = batch[self.column]
        if self.num_classes is not None:
            return self._labels(values, batch).to(device, non_blocking=True)
        return self._text(values, batch.get(f"{self.column}.mask"), device)

    def drop(self, condition: Condition | None, is_dropped: Tensor) -> Condition | None:
        """Return the condition with that of some samples, bool [B], left out."""
        if condition is None:
            return None
        if isinstance(condition, tuple):
            text, mask = condition
            if self.empty_text is None:
                return text, mask & ~is_dropped[:, None]
            return _emptied(text, mask, is_dropped, self.empty_text)
        assert self.num_classes is not None, "labels come from a model with classes"
        return condition.masked_fill(is_dropped, self.num_classes)

    def without(self, condition: Condition | None) -> Condition | None:
        """Return what the model takes for "no condition", for as many samples."""
        if condition is None:
            return None
        first = condition[0] if isinstance(condition, tuple) else condition
        return self.drop(condition, torch.ones(len(first), dtype=torch.bool, device=first.device))

    def _labels(self, values: Any, batch: Mapping[str, Any]) -> Tensor:
        assert self.num_classes is not None, "checked by the caller"
        if isinstance(values, list):
            # A sample without a label is trained as one whose label was dropped.
            plain = [self.num_classes if value is None else value for value in values]
            if not all(isinstance(value, int) for value in plain):
                raise ConfigError(
                    f"{self.column} must be whole numbers, got {next(iter(values))!r}; number "
                    f"the classes and annotate the store with the numbers"
                )
            labels, highest = torch.tensor(plain), self.num_classes
        else:
            labels, highest = values, self.num_classes - 1
        if labels.dtype.is_floating_point or labels.ndim != 1:
            raise ConfigError(
                f"{self.column} must be one whole number a sample, got {labels.dtype} "
                f"{tuple(labels.shape)}; number the classes and annotate the store with them"
            )
        wrong = (labels < 0) | (labels > highest)
        if bool(wrong.any()):
            at = int(wrong.nonzero()[0])
            raise ConfigError(
                f"{self.column} must be from 0 to {self.num_classes - 1}, got {int(labels[at])} "
                f"(sample {batch['key'][at]}); raise dit.num_classes, or filter the source"
            )
        return labels.to(torch.int64)

    def _text(self, values: Any, mask: Tensor | None, device: torch.device) -> Condition:
        if not isinstance(values, Tensor) or values.ndim != 3 or values.shape[2] != self.text_dim:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ConfigError(
                f"{self.column} must be embeddings [samples, tokens, {self.text_dim}], got {got}; "
                f"encode the text, or give the model what the column holds"
            )
        text = values.to(device, non_blocking=True)
        if mask is not None:
            return text, mask.to(device, non_blocking=True)
        # Encoders pad with zeros; no token that says something is all zero.
        return text, (text != 0).any(dim=2)


def _emptied(text: Tensor, mask: Tensor, is_dropped: Tensor, empty: Tensor) -> Condition:
    """Return texts [B, L, D] and their mask with some samples' replaced by the empty text's."""
    length = max(text.shape[1], len(empty))
    text = nn.functional.pad(text, (0, 0, 0, length - text.shape[1]))
    mask = nn.functional.pad(mask, (0, length - mask.shape[1]))
    stand_in = text.new_zeros(length, text.shape[2])
    stand_in[: len(empty)] = empty.to(text)
    seen = torch.arange(length, device=mask.device) < len(empty)
    return (
        torch.where(is_dropped[:, None, None], stand_in, text),
        torch.where(is_dropped[:, None], seen, mask),
    )


def draw_drops(noise_seeds: Tensor, share: float, *, stream: int = DROP_STREAM) -> Tensor:
    """Return which samples lose their condition, bool [B]; drawn by sample, on any rank."""
    uniform = torch.special.ndtr(keyed_normal(noise_seeds, (1,), stream=stream)[:, 0])
    dropped: Tensor = uniform < share
    return dropped


def empty_text_of(loader: LatentLoader, condition: str | None) -> Tensor | None:
    """Return the embedding that a column of texts has for the empty one, [N, D]."""
    found = None if condition is None else loader.empty_text(condition)
    return None if found is None else found.states[: found.num_valid]
