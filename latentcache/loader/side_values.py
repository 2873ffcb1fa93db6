"""What a batch carries beside tensors: captions and labels, sizes and crops, frame rates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.seeds import keyed_uint64
from latentcache.loader.opening import OpenSource
from latentcache.loader.permutation import Indices
from latentcache.loader.stream import Picked, Stream
from latentcache.store.annotations import Annotation
from latentcache.store.plan_tables import iter_rows

PLAN_VALUES: dict[str, tuple[str, ...]] = {
    "original_size": ("source_height_px", "source_width_px"),
    "resized_size": ("resized_height_px", "resized_width_px"),
    "crop": ("crop_top_px", "crop_left_px"),
    "frame_rate_fps": ("frame_rate_fps",),
    "start_s": ("start_s",),
    "end_s": ("end_s",),
}
"""Names a column may have besides encoded columns and annotations: pixels as (vertical,
horizontal), as SDXL's micro-conditioning wants them; 0 where the plan says nothing."""


class SideValues:
    """Reads annotations and plan fields of the rows of a batch."""

    def __init__(self, opened: Sequence[OpenSource], names: Sequence[str], *, seed: int) -> None:
        """Check that the names exist; opens nothing.

        Raises:
            ConfigError: A source has no such annotation.
        """
        self._opened, self._seed = opened, seed
        self._annotations: dict[tuple[int, int, str], Annotation | None] = {}
        self._plan: dict[tuple[int, int, str], Any] = {}
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

    def read(self, name: str, stream: Stream, picked: Picked) -> Any:
        """Return a tensor [B] or [B, 2] of numbers, or a list of B other values."""
        if name in self._opened[stream.place.source].snapshot.record.annotations:
            return self._annotation_values(name, stream, picked)
        return self._plan_values(name, stream, picked.rows)

    def _annotation_values(self, name: str, stream: Stream, picked: Picked) -> Any:
        place = stream.place
        key = (place.source, place.generation, name)
        if key not in self._annotations:
            snapshot = self._opened[place.source].snapshot
            self._annotations[key] = snapshot.annotation(name, place.generation)
        annotation = self._annotations[key]
        if annotation is None:
            return [None] * len(picked.rows)
        values = annotation.take(*stream.shards_and_rows(picked.rows))
        if not values.null_count and str(values.type) in _NUMBERS:
            return torch.from_numpy(values.to_numpy(zero_copy_only=False).copy())
        plain = values.to_pylist()
        if str(values.type).startswith(("list", "large_list")):
            return self._chosen(name, plain, stream.keys(picked.rows), picked.draws)
        return plain

    def _chosen(
        self, name: str, several: list[Any], keys: Sequence[str], draws: Indices
    ) -> list[Any]:
        """Return one of each sample's values, another in each epoch."""
        return [
            values[keyed_uint64(self._seed, "choice", name, key, draw) % len(values)]
            if values
            else None
            for values, key, draw in zip(several, keys, draws.tolist(), strict=True)
        ]

    def _plan_values(self, name: str, stream: Stream, rows: Indices) -> torch.Tensor:
        place = stream.place
        key = (place.source, place.generation, name)
        if key not in self._plan:
            snapshot = self._opened[place.source].snapshot
            generation = snapshot.generations[place.generation]
            fields = PLAN_VALUES[name]
            pieces = [
                np.stack([_filled(table[f]) for f in fields], axis=1)
                for table in iter_rows(snapshot.folder, generation, fields)
            ]
            self._plan[key] = np.concatenate(pieces)
        generations = self._opened[place.source].snapshot.generations[: place.generation]
        before = sum(generation.num_rows for generation in generations)
        found = self._plan[key][stream.numbers(rows) - before]
        return torch.from_numpy(found[:, 0] if found.shape[1] == 1 else found)


_NUMBERS = {"int8", "int16", "int32", "int64", "uint8", "float", "double", "bool"}


def _filled(values: Any) -> Any:
    return values.fill_null(0).to_numpy()
