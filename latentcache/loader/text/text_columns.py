"""Columns of embedded texts: one text a sample, padded to the batch, dropped to the empty one.

Dimension letters: B batch, L tokens with padding, N tokens, C channels, K texts of a sample.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.inputs import parse_input, recorded_input
from latentcache.loader.gather.buffers import Octets
from latentcache.loader.gather.ragged import Payload
from latentcache.loader.gather.unit_gather import Places
from latentcache.loader.order.epoch_order import OrderRule
from latentcache.loader.streams.stream import Picked, Stream
from latentcache.loader.streams.stream_column import StreamColumn
from latentcache.loader.text.text_draws import chosen_text, text_draws
from latentcache.store import ColumnView, TensorBytes

EMPTY = "empty"

_FIELDS = ("z", "lengths", "pooled")
_ODDS = 2**64


@dataclass(frozen=True, slots=True)
class TextFields:
    """One text of one sample.

    Attributes:
        states: [N, C].
        num_valid: Tokens of N that are the text's; fewer where padding is stored.
        pooled: [C], or None.
    """

    states: torch.Tensor
    num_valid: int
    pooled: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class _Text:
    """One text of one sample, in bytes, as a batch is put together fastest.

    Attributes:
        states: [N, bytes of a token].
        num_valid: Tokens of N that are the text's.
        pooled: Its bytes, or None.
    """

    states: Octets
    num_valid: int
    pooled: Octets | None


def is_text(view: ColumnView) -> bool:
    """Return whether a column holds embedded texts."""
    return view.record.spec.get("modality") == "text"


def text_columns(views: Mapping[str, ColumnView]) -> dict[str, ColumnView]:
    """Return those columns that hold embedded texts."""
    return {name: view for name, view in views.items() if is_text(view)}


class TextColumns:
    """Makes tensors of embedded texts; reads the empty text of a column when it is first needed."""

    def __init__(
        self,
        views: Mapping[str, ColumnView],
        *,
        rule: OrderRule,
        drop: float,
        weights: Mapping[str, Sequence[float]],
    ) -> None:
        """Keep what is asked.

        Args:
            views: Columns of texts, by name.
            rule: Keys the draws.
            drop: Share of samples that are given the empty text.
            weights: Of each annotation's several texts.

        Raises:
            ConfigError: Samples shall be dropped, and a column has no empty text.
        """
        self._views, self._rule, self._drop, self._weights = dict(views), rule, drop, weights
        self._empty: dict[str, TextFields] = {}
        self._empty_octets: dict[str, _Text] = {}
        for name, view in views.items():
            if drop and not any(text.name == EMPTY for text in view.entry.texts):
                raise ConfigError(
                    f"text_drop must be 0 for a column without an empty text, got {drop} (column "
                    f"{name}); encode it with this version"
                )

    def __contains__(self, name: str) -> bool:
        return name in self._views

    @property
    def annotations(self) -> set[str]:
        """Those whose texts are embedded."""
        inputs = [recorded_input(view.record.transform) for view in self._views.values()]
        return {parse_input(each).annotation for each in inputs}

    def check_as_stored(self, normalized: Collection[str]) -> None:
        """Refuse columns of texts among those that are to be normalized.

        Raises:
            ConfigError: One is.
        """
        for name in self._views:
            if name in normalized:
                raise ConfigError(
                    f"normalize must leave out columns of texts, which are given as stored, got "
                    f"{name!r}; normalize its tensors in the training"
                )

    def empty(self, name: str) -> TextFields:
        """Return what a column has for the empty text.

        Raises:
            StoreError: It has none.
        """
        if name not in self._empty:
            fields = {
                key: _tensor(value) for key, value in self._views[name].text_fields(EMPTY).items()
            }
            states, pooled = fields["z"], fields.get("pooled")
            self._empty[name] = TextFields(
                states, int(fields["lengths"][0]), None if pooled is None else pooled[0]
            )
        return self._empty[name]

    def _empty_text(self, name: str) -> _Text:
        if name not in self._empty_octets:
            found = self.empty(name)
            pooled = None if found.pooled is None else _octets(found.pooled)
            self._empty_octets[name] = _Text(_octets(found.states), found.num_valid, pooled)
        return self._empty_octets[name]

    def read(
        self, name: str, column: StreamColumn, places: Places, stream: Stream, picked: Picked
    ) -> dict[str, Any]:
        """Return the tensors of a batch.

        ``NAME`` [B, L, C] as stored, zeros where there is no token; ``NAME.mask`` bool [B, L];
        ``NAME.dropped`` bool [B]; ``NAME.pooled`` [B, C] where it is stored. A sample without a
        text has the empty one, as one that is dropped.
        """
        record = self._views[name].record
        annotation = parse_input(recorded_input(record.transform)).annotation
        names = [field for field in _FIELDS if field in column.fields]
        samples = column.varying.payloads(places, names)
        texts = [self._texts(name, fields) for fields in samples]
        if any(len(each) > 1 for each in texts):
            draws = text_draws(self._rule, "choice", annotation, stream, picked)
        else:
            draws = [0] * len(texts)
        dropped = [False] * len(texts)
        if self._drop:
            odds = text_draws(self._rule, "drop", annotation, stream, picked)
            dropped = [each < self._drop * _ODDS for each in odds]
        weights = self._weights.get(annotation, ())
        chosen = [
            self._empty_text(name)
            if is_dropped or not each
            else each[chosen_text(draw, len(each), weights)]
            for each, draw, is_dropped in zip(texts, draws, dropped, strict=True)
        ]
        states = samples[0]["z"].entry
        found: dict[str, Any] = {}
        found[name] = _padded(chosen).view(getattr(torch, states.dtype))
        found[f"{name}.mask"] = _mask([each.num_valid for each in chosen], found[name].shape[1])
        found[f"{name}.dropped"] = torch.tensor(dropped)
        pooled = [each.pooled for each in chosen if each.pooled is not None]
        if pooled:
            dtype = getattr(torch, samples[0]["pooled"].entry.dtype)
            found[f"{name}.pooled"] = torch.from_numpy(np.stack(pooled)).view(dtype)
        return found

    def _texts(self, name: str, fields: Mapping[str, Payload]) -> list[_Text]:
        """Return the texts that a sample holds, one after the other."""
        octets, entry = fields["lengths"]
        lengths = np.frombuffer(octets.tobytes(), entry.dtype).tolist()
        if not lengths:
            return []
        octets, entry = fields["z"]
        num_tokens, width = entry.shape
        states = octets.reshape(num_tokens, width * getattr(torch, entry.dtype).itemsize)
        vectors: Sequence[Octets | None] = [None] * len(lengths)
        if "pooled" in fields:
            vectors = list(fields["pooled"].octets.reshape(len(lengths), -1))
        if self._views[name].record.spec["knobs"].get("keep_padding"):
            parts = np.split(states, len(lengths))
        elif len(lengths) == 1:
            parts = [states]
        else:
            parts = np.split(states, np.cumsum(lengths)[:-1])
        return [_Text(*each) for each in zip(parts, lengths, vectors, strict=True)]


def _padded(texts: Sequence[_Text]) -> torch.Tensor:
    """Return states [B, L, bytes of a token] with zeros after them."""
    length = max(len(each.states) for each in texts)
    width = texts[0].states.shape[1]
    found = torch.zeros((len(texts), length, width), dtype=torch.uint8)
    rows = found.numpy()
    for row, each in enumerate(texts):
        rows[row, : len(each.states)] = each.states
    return found


def _mask(num_valid: Sequence[int], length: int) -> torch.Tensor:
    """Return which of ``length`` tokens are a text's, bool [B, length]."""
    return torch.from_numpy(np.arange(length) < np.array(num_valid)[:, None])


def _octets(values: torch.Tensor) -> Octets:
    """Return the bytes of a tensor, its last dimension that many times longer."""
    octets: Octets = values.contiguous().view(torch.uint8).numpy()
    return octets


def _tensor(value: Any) -> torch.Tensor:
    if not isinstance(value, TensorBytes):
        return torch.from_numpy(value.copy())
    flat = torch.frombuffer(bytearray(value.data), dtype=torch.uint8)
    return flat.view(getattr(torch, value.dtype)).reshape(value.shape)
