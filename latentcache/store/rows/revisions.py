"""Another revision of an annotation: some values replaced, all others as they were."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from latentcache.core.errors import ConfigError
from latentcache.storage import Folder
from latentcache.store.format.records import Generation
from latentcache.store.rows.annotations import (
    ROWS_PER_BATCH,
    AnnotationFile,
    PlanIndex,
    open_annotation,
    write_annotations,
)

Position = tuple[int, int]
"""Shard and row."""
Indices = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]


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
        values: New values by (shard, row), the corpus' own; None takes a value away.
        new_type: Arrow type of an annotation that the generation does not have yet.

    Raises:
        ConfigError: A value is of another type than the annotation.
        ValueError: A row is not the generation's.
    """
    found = open_annotation(folder, generation, name)
    value_type = new_type if found is None or pa.types.is_null(found.type) else found.type
    try:
        new: Any = pa.array(list(values.values()), value_type)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        wrong = next(iter(values.values()))
        raise ConfigError(
            f"values of {name} must be {value_type}, got for instance {wrong!r} "
            f"({str(error).splitlines()[0]}); correct them"
        ) from None
    number = {position: at for at, position in enumerate(values)}
    unused = set(number)

    def numbers() -> Iterator[Indices]:
        for shards, rows in _positions(generation):
            pairs = list(zip(shards.tolist(), rows.tolist(), strict=True))
            unused.difference_update(pairs)
            yield np.array([number.get(pair, -1) for pair in pairs], np.int64)
        if unused:
            shard, row = min(unused)
            raise ValueError(f"rows must be generation {generation.number}'s, got {shard}, {row}")

    given = None if found is None else _without(found.given, generation, list(values))
    return replace_values(folder, generation, name, new, numbers(), given=given)


def _without(given: Marks, generation: Generation, positions: Sequence[Position]) -> Marks:
    """Return which values are still given when the corpus has its say about some rows."""
    if given.any() and positions:
        shards, rows = np.array(positions, np.int64).T
        given[PlanIndex(generation.runs).places(shards, rows)] = False
    return given


def replace_values(
    folder: Folder,
    generation: Generation,
    name: str,
    new: Any,
    numbers: Iterable[Indices],
    *,
    given: Marks | None = None,
) -> AnnotationFile:
    """Write the next revision of an annotation: some values replaced, all others as they were.

    Args:
        folder: The store.
        generation: Whose rows are revised.
        name: Of the annotation.
        new: New values, an Arrow array of the annotation's type.
        numbers: In plan order, in any pieces, of each row the place in ``new`` of its value; -1
            keeps what is there.
        given: See ``write_annotations``; None leaves it as it is.
    """
    found = open_annotation(folder, generation, name)
    if given is None and found is not None:
        given = found.given

    def tables() -> Iterator[pa.Table]:
        index, done = PlanIndex(generation.runs), 0
        for part in numbers:
            stop = done + len(part)
            old = pa.nulls(len(part), new.type)
            if found is not None:
                old = found.slice(done, stop).cast(new.type)
            taken = new.take(pa.array(part, mask=part < 0))
            shards, rows = index.positions(np.arange(done, stop))
            values = pc.if_else(pa.array(part < 0), old, taken)
            yield pa.table({"shard": shards, "row": rows, "value": values})
            done = stop

    return write_annotations(folder, generation, name, tables(), given=given)


def _positions(generation: Generation) -> Iterator[tuple[Any, Any]]:
    """Yield shards and rows of a generation in plan order, a batch at a time."""
    for run in generation.runs:
        for start in range(0, run.num_rows, ROWS_PER_BATCH):
            index = np.arange(start, min(start + ROWS_PER_BATCH, run.num_rows))
            shards, rows = np.divmod(index, run.rows_per_shard)
            yield shards + run.first_shard, rows
