"""Rows of a store packed anew: a plan of those chosen, and their latents as they are.

Keys, encodings and fingerprints stay; no encoder is needed. A copy of some samples and the folding
of small generations are both this, into another store or into the same one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.units import BucketRun, UnitRange
from latentcache.exchange.chosen_rows import ChosenRun, ColumnRow, iter_column
from latentcache.exchange.copying import Progress
from latentcache.stats import count_stored
from latentcache.store import (
    ColumnView,
    EncodingRecord,
    Generation,
    Provenance,
    Snapshot,
    Store,
    UnitWriter,
)
from latentcache.store.format import indices
from latentcache.store.rows import PLACED_PLAN_SCHEMA, PLAN_SCHEMA, read_rows
from latentcache.store.units import SampleFields


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one shard of the old store."""

    chosen: ChosenRun
    shard: UnitRange
    rows: Any


class Repacked:
    """Rows chosen, bucket by bucket, in the order that they have in the new plan.

    Attributes:
        runs: Of the new plan.
        num_placements: Rows that a sample may have.
    """

    def __init__(
        self, snapshot: Snapshot, chosen: Sequence[ChosenRun], *, first_shard: int = 0
    ) -> None:
        """Order the rows.

        Args:
            snapshot: That has them.
            chosen: Which.
            first_shard: Of the new plan.
        """
        self._snapshot = snapshot
        self.num_placements = max(each.num_placements for each in snapshot.generations)
        ordered = sorted(chosen, key=lambda each: (each.run.bucket, each.run.is_long))
        self._groups = [
            list(each)
            for _, each in groupby(ordered, lambda one: (one.run.bucket, one.run.is_long))
        ]
        self.runs = tuple(self._runs(first_shard))

    def _runs(self, first: int) -> Iterator[BucketRun]:
        for group in self._groups:
            run = BucketRun(
                bucket=group[0].run.bucket,
                first_shard=first,
                num_rows=sum(len(each.places) for each in group),
                rows_per_shard=group[0].run.rows_per_shard,
            )
            first += run.num_shards
            yield run

    def _pieces(self) -> Iterator[tuple[BucketRun, int, Piece]]:
        """Yield the rows by old shard, with the new run and their first place in it."""
        for run, group in zip(self.runs, self._groups, strict=True):
            start = 0
            for chosen in group:
                for shard, rows in chosen.by_shard():
                    yield run, start, Piece(chosen, shard, rows)
                    start += len(rows)

    def rows(self) -> Iterator[pa.Table]:
        """Yield the plan rows, numbered anew."""
        schema = PLACED_PLAN_SCHEMA if self.num_placements > 1 else PLAN_SCHEMA
        for run, start, piece in self._pieces():
            table = read_rows(
                self._snapshot.folder, piece.chosen.generation, piece.shard, schema.names
            ).take(indices(piece.rows))
            for name, values in zip(
                ("shard", "row"), _numbered(run, start, len(table)), strict=True
            ):
                at = table.schema.get_field_index(name)
                table = table.set_column(at, table.schema.field(name), values)
            yield table

    def annotations(self) -> dict[str, Iterator[pa.Table]]:
        """Return what the snapshot has of each annotation, as a draft of the plan takes it."""
        return {name: self._values(name) for name in sorted(self._snapshot.record.annotations)}

    def given(self) -> dict[str, Any]:
        """Return by annotation which values somebody gave, bool by place in the new plan."""
        found = {}
        for name in sorted(self._snapshot.record.annotations):
            parts = [self._given(name, piece) for _, _, piece in self._pieces()]
            if any(part.any() for part in parts):
                found[name] = np.concatenate(parts)
        return found

    def _given(self, name: str, piece: Piece) -> Any:
        annotation = self._snapshot.annotation(name, piece.chosen.generation.number)
        if annotation is None:
            return np.zeros(len(piece.rows), bool)
        shards = np.full(len(piece.rows), piece.shard.unit.shard)
        return annotation.is_given(shards, piece.rows)

    def _values(self, name: str) -> Iterator[pa.Table]:
        for run, start, piece in self._pieces():
            found = self._snapshot.annotation(name, piece.chosen.generation.number)
            if found is None:
                continue
            shards = np.full(len(piece.rows), piece.shard.unit.shard)
            new_shards, new_rows = _numbered(run, start, len(piece.rows))
            values = found.take(shards, piece.rows)
            yield pa.table({"shard": new_shards, "row": new_rows, "value": values})

    def units(
        self, generation: Generation, record: EncodingRecord
    ) -> Iterator[tuple[UnitRange, list[Piece]]]:
        """Yield each unit of the new store with the old rows that it holds, in order."""
        pieces = [(run.first_shard, start, piece) for run, start, piece in self._pieces()]
        for run in generation.runs:
            mine = [(start, piece) for first, start, piece in pieces if first == run.first_shard]
            for unit in run.units(generation=generation.number, rows_per_unit=record.rows_per_unit):
                first = (unit.unit.shard - run.first_shard) * run.rows_per_shard + unit.first_row
                yield unit, list(_cut(mine, first, first + unit.num_rows))


def _numbered(run: BucketRun, start: int, count: int) -> tuple[Any, Any]:
    shards, rows = np.divmod(np.arange(start, start + count), run.rows_per_shard)
    return pa.array(shards + run.first_shard, pa.int32()), pa.array(rows, pa.int32())


def _cut(pieces: Sequence[tuple[int, Piece]], first: int, stop: int) -> Iterator[Piece]:
    for start, piece in pieces:
        rows = piece.rows[max(0, first - start) : max(0, stop - start)]
        if len(rows):
            yield replace(piece, rows=rows)


def _write_unit(
    dest: Store,
    record: EncodingRecord,
    planned: tuple[Generation, UnitRange],
    view: ColumnView,
    pieces: Sequence[Piece],
) -> None:
    """Commit one unit of the new plan.

    Args:
        dest: The store that has the plan.
        record: The encoding there.
        planned: The unit and its generation.
        view: The column that the rows are read from.
        pieces: Them, in order.

    Raises:
        ShardCorruptError: What is read differs from what was recorded.
    """
    generation, unit = planned
    provenance = Provenance(generation_digest=generation.digest, software={})
    keys: list[Any] = dest.read_rows(unit, ["key"])["key"].to_pylist()

    def column_rows() -> Iterator[ColumnRow]:
        for piece in pieces:
            yield from iter_column(view, piece.shard, piece.rows)

    def written() -> Iterator[SampleFields]:
        for row, found in enumerate(column_rows(), unit.first_row):
            if found.fields:
                key = keys[row - unit.first_row]
                writer.add(row, key, found.fields, found.source_digest)
                yield found.fields
            else:
                assert found.reject is not None, "a complete column has it or says why not"
                writer.reject(row, found.reject, found.source_digest)

    with UnitWriter(dest.folder, record, unit, provenance=provenance) as writer:
        writer.finish(count_stored(record, unit.bucket, written()))


def write_column(
    dest: Store,
    record: EncodingRecord,
    planned: tuple[Generation, Repacked],
    view: ColumnView,
    on_rows: Callable[[int], None],
) -> tuple[int, int]:
    """Commit the units of one column that are not there yet.

    Args:
        dest: The store that has the plan.
        record: The encoding there.
        planned: The generation and the rows that it was made of.
        view: The column that the rows are read from.
        on_rows: Told of the rows of each unit, whether written or there.

    Returns:
        How many units were written, and how many were there.

    Raises:
        ShardCorruptError: What is read differs from what was recorded.
    """
    generation, repacked = planned
    committed = dest.commits(record)
    num_written = num_there = 0
    for unit, pieces in repacked.units(generation, record):
        if unit.unit in committed:
            num_there += 1
        else:
            _write_unit(dest, record, (generation, unit), view, pieces)
            num_written += 1
        on_rows(unit.num_rows)
    return num_written, num_there


def summed(on_progress: Progress, total: int) -> Callable[[int], None]:
    """Return what takes counts one by one, and tells ``on_progress`` their sum so far."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done, total)

    return add


def classes_of(generations: Sequence[Generation]) -> dict[str, Any]:
    """Return the names of classes as the newest generation that has any tells them."""
    named = [each.totals["classes"] for each in generations if "classes" in each.totals]
    return {"classes": named[-1]} if named else {}
