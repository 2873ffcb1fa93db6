"""What a batch carries beside tensors: captions and labels, sizes and crops, times of frames."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import torch

from latentcache.core.errors import ConfigError
from latentcache.loader.index.frame_times import seconds_of_spans
from latentcache.loader.index.plan_texts import TEXT_FIELDS, PlanTexts
from latentcache.loader.index.plan_values import PlanValues
from latentcache.loader.order.epoch_order import OrderRule
from latentcache.loader.order.feistel import Indices
from latentcache.loader.select.selection import PAIRS
from latentcache.loader.streams.open_sources import OpenSource
from latentcache.loader.streams.stream import Picked, Stream
from latentcache.loader.text.text_draws import chosen_text, text_draws
from latentcache.store import Annotation
from latentcache.store.format import numbers
from latentcache.store.rows import PLACED_PLAN_SCHEMA

_OF_PLACEMENT = ("crop_index", "is_flipped")
PLAN_VALUES: dict[str, tuple[str, ...]] = {
    **PAIRS,
    "frame_rate_fps": ("frame_rate_fps",),
    "start_s": ("start_s",),
    "end_s": ("end_s",),
    "latent_times": ("start_s", "frame_rate_fps"),
    "latent_spans": ("start_s", "frame_rate_fps"),
    **{
        name: (name,)
        for name in PLACED_PLAN_SCHEMA.names
        if (name.endswith("_px") or name in (*TEXT_FIELDS, *_OF_PLACEMENT)) and name != "version"
    },
}
"""Names a column may have besides encoded columns and annotations: pixels as (vertical,
horizontal), as SDXL's micro-conditioning wants them; 0 where the plan says nothing. The plan's own
names, which filters speak of, give one number or text."""


_PlanT = TypeVar("_PlanT", PlanValues, PlanTexts)


class SideValues:
    """Reads annotations and plan fields of the rows of a batch."""

    def __init__(
        self,
        opened: Sequence[OpenSource],
        names: Sequence[str],
        *,
        rule: OrderRule,
        weights: Mapping[str, Sequence[float]],
    ) -> None:
        """Check that the names exist; opens nothing.

        Args:
            opened: The sources.
            names: Annotations and plan values.
            rule: Keys the draws.
            weights: Of each annotation's several texts.

        Raises:
            ConfigError: A source has no such annotation.
        """
        self._opened, self._rule, self._weights = opened, rule, weights
        self._annotations: dict[tuple[int, int, str], Annotation | None] = {}
        self._plan: dict[tuple[int, int], PlanValues] = {}
        self._rows_before: dict[tuple[int, int], int] = {}
        fields = {field for name in names for field in PLAN_VALUES.get(name, ())}
        self._fields = sorted(fields - set(TEXT_FIELDS))
        self._text_fields = sorted(fields & set(TEXT_FIELDS))
        self._texts: dict[tuple[int, int], PlanTexts] = {}
        for one in opened:
            known = set(one.snapshot.record.annotations)
            for name in names:
                if name not in known and name not in PLAN_VALUES:
                    raise ConfigError(
                        f"columns must be encoded ({', '.join(sorted(one.snapshot.columns))}), "
                        f"annotations ({', '.join(sorted(known)) or 'none'}) or plan values "
                        f"({', '.join(PLAN_VALUES)}), got {name!r} (source {one.source.name}); "
                        f"correct it"
                    )

    def kind(self, name: str) -> Literal["number", "text", "other"]:
        """Return what a column's values are, by the first source that has any."""
        if name in PLAN_VALUES:
            return "text" if name in TEXT_FIELDS else "number"
        for one in self._opened:
            for stream in one.streams:
                annotation = self._annotation(name, stream)
                if annotation is not None:
                    return _kind(annotation.type)
        return "other"

    def read(self, name: str, stream: Stream, picked: Picked) -> Any:
        """Return a tensor [B, ...] of numbers, or a list of B other values."""
        if name in self._opened[stream.place.source].snapshot.record.annotations:
            annotation = self._annotation(name, stream)
            if annotation is None:
                return [None] * len(picked.rows)
            if pa.types.is_string(annotation.type):
                return annotation.texts(self._places(stream, picked.rows))
            return self._annotation_values(annotation, name, stream, picked)
        if name in TEXT_FIELDS:
            return self._plan_texts(name, stream, picked.rows)
        values = [self._plan_values(field, stream, picked.rows) for field in PLAN_VALUES[name]]
        if name in ("latent_times", "latent_spans"):
            main = "latents" if "latents" in stream.columns else next(iter(stream.columns))
            spans = stream.frame_spans(main, picked)
            return _latent_values(name, spans, start_s=values[0], frame_rate_fps=values[1])
        return torch.from_numpy(values[0] if len(values) == 1 else np.stack(values, axis=1))

    def _annotation_values(
        self, annotation: Annotation, name: str, stream: Stream, picked: Picked
    ) -> Any:
        values = annotation.take(*stream.shards_and_rows(picked.rows))
        if not values.null_count and pa.types.is_boolean(values.type):
            return torch.tensor(values.to_pylist(), dtype=torch.bool)
        if not values.null_count and _is_number(values.type):
            return torch.from_numpy(numbers(values).copy())
        if _is_list(values.type) and pa.types.is_string(values.type.value_type):
            plain = values.to_pylist()
            return self._chosen(name, plain, stream, picked)
        if _is_list(values.type) and not values.null_count and _is_number(values.type.value_type):
            return _vectors(values)
        return values.to_pylist()

    def _annotation(self, name: str, stream: Stream) -> Annotation | None:
        place = stream.place
        key = (place.source, place.generation, name)
        if key not in self._annotations:
            one = self._opened[place.source]
            snapshot, cache = one.snapshot, one.cache
            fetch = partial(cache.fetch, snapshot.folder) if cache is not None else None
            self._annotations[key] = snapshot.annotation(name, place.generation, fetch=fetch)
        return self._annotations[key]

    def _chosen(self, name: str, several: list[Any], stream: Stream, picked: Picked) -> list[Any]:
        """Return one of each sample's values, another in each epoch."""
        draws = text_draws(self._rule, "choice", name, stream, picked)
        weights = self._weights.get(name, ())
        return [
            values[chosen_text(draw, len(values), weights)] if values else None
            for values, draw in zip(several, draws, strict=True)
        ]

    def _plan_values(self, field: str, stream: Stream, rows: Indices) -> Any:
        key = (stream.place.source, stream.place.generation)
        if key not in self._plan:
            self._plan[key] = self._of_plan(PlanValues, key, self._fields)
        return self._plan[key].read(field, self._places(stream, rows))

    def _plan_texts(self, field: str, stream: Stream, rows: Indices) -> list[str]:
        key = (stream.place.source, stream.place.generation)
        if key not in self._texts:
            self._texts[key] = self._of_plan(PlanTexts, key, self._text_fields)
        return self._texts[key].read(field, self._places(stream, rows))

    def _of_plan(self, kind: type[_PlanT], key: tuple[int, int], fields: Sequence[str]) -> _PlanT:
        one = self._opened[key[0]]
        scratch: Path | None = one.cache.path if one.cache is not None else None
        generation = one.snapshot.generations[key[1]]
        return kind(one.snapshot.folder, generation, fields, scratch=scratch)

    def _places(self, stream: Stream, rows: Indices) -> Indices:
        """Return the rows' places in their generation's plan."""
        key = (stream.place.source, stream.place.generation)
        if key not in self._rows_before:
            generations = self._opened[key[0]].snapshot.generations[: key[1]]
            self._rows_before[key] = sum(each.num_rows for each in generations)
        return stream.numbers(rows) - self._rows_before[key]


def _latent_values(name: str, spans: Any, *, start_s: Any, frame_rate_fps: Any) -> torch.Tensor:
    """Return seconds in the medium: spans [B, T, 2], or when each one's last frame is [B, T]."""
    spans = spans if name == "latent_spans" else spans - 1.0
    found = seconds_of_spans(spans, start_s=start_s, frame_rate_fps=frame_rate_fps)
    return torch.from_numpy(found if name == "latent_spans" else found[..., 1].copy())


def _is_list(kind: Any) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _kind(found: Any) -> Literal["number", "text", "other"]:
    value = found.value_type if _is_list(found) else found
    if pa.types.is_string(value):
        return "text"
    return "number" if _is_number(found) else "other"


def _vectors(values: Any) -> Any:
    """Return lists of numbers as one tensor [B, n], or as a tensor each if lengths differ."""
    flat = values.flatten()
    if flat.null_count:
        return values.to_pylist()
    lengths = {len(one) for one in values}
    whole = torch.from_numpy(numbers(flat).copy())
    if len(lengths) == 1:
        return whole.reshape(len(values), -1)
    return list(torch.split(whole, [len(one) for one in values]))
