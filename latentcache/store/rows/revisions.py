"""Another revision of an annotation: some values replaced, all others as they were."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.errors import ConfigError
from latentcache.storage import Folder
from latentcache.store.format.records import Generation
from latentcache.store.rows.annotations import (
    ROWS_PER_BATCH,
    Annotation,
    AnnotationFile,
    open_annotation,
    write_annotations,
)

Position = tuple[int, int]
"""Shard and row."""


def revise_annotation(
    folder: Folder,
    generation: Generation,
    name: str,
    values: Mapping[Position, Any],
    *,
    new_type: Any = None,
) -> AnnotationFile:
    """Write the next revision of an annotation of one generation and return which it is.

    Args:
        folder: The store.
        generation: Whose rows are revised.
        name: Of the annotation; one that the generation does not have begins as all null.
        values: New values by (shard, row); None takes a value away.
        new_type: Arrow type of an annotation that the generation does not have yet.

    Raises:
        ConfigError: A value is of another type than the annotation.
        ValueError: A row is not the generation's.
    """
    found = open_annotation(folder, generation, name)
    value_type = new_type if found is None or pa.types.is_null(found.type) else found.type
    return write_annotations(
        folder, generation, name, _tables(generation, found, name, values, value_type)
    )


def _tables(
    generation: Generation,
    found: Annotation | None,
    name: str,
    values: Mapping[Position, Any],
    value_type: Any,
) -> Iterator[pa.Table]:
    """Yield every row of the generation with its value, old or new."""
    done, waiting = 0, dict(values)
    for shards, rows in _positions(generation):
        count = len(shards)
        old = pa.nulls(count, value_type) if found is None else found.slice(done, done + count)
        old = old.cast(value_type)
        pairs = zip(shards.tolist(), rows.tolist(), strict=True)
        new = {at: waiting.pop(pair) for at, pair in enumerate(pairs) if pair in waiting}
        if new:
            told = old.to_pylist()
            for at, value in new.items():
                told[at] = value
            try:
                old = pa.array(told, value_type)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                wrong = next(iter(new.values()))
                raise ConfigError(
                    f"values of {name} must be {value_type}, got for instance {wrong!r} "
                    f"({str(error).splitlines()[0]}); correct them"
                ) from None
        yield pa.table({"shard": shards, "row": rows, "value": old})
        done += count
    if waiting:
        shard, row = next(iter(waiting))
        raise ValueError(f"rows must be generation {generation.number}'s, got {shard}, {row}")


def _positions(generation: Generation) -> Iterator[tuple[Any, Any]]:
    """Yield shards and rows of a generation in plan order, a batch at a time."""
    for run in generation.runs:
        for start in range(0, run.num_rows, ROWS_PER_BATCH):
            index = np.arange(start, min(start + ROWS_PER_BATCH, run.num_rows))
            shards, rows = np.divmod(index, run.rows_per_shard)
            yield shards + run.first_shard, rows
