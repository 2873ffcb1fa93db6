"""Part of a store copied into a new one: a plan of the samples chosen, their latents as they are.

The new store has an id and shards of its own; keys, encodings and fingerprints stay, so that a
model goes on with it as with the whole. No encoder is needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.errors import StoreError
from latentcache.core.units import BucketRun, UnitRange
from latentcache.exchange.chosen_rows import ChosenRun, ColumnRow, choose_rows, iter_column
from latentcache.exchange.copying import Progress
from latentcache.stats import count_stored, merge_arrays
from latentcache.store import (
    ColumnChange,
    ColumnView,
    EncodingRecord,
    Generation,
    GenerationDraft,
    Provenance,
    Snapshot,
    Store,
    UnitWriter,
)
from latentcache.store.format import indices
from latentcache.store.rows import read_rows
from latentcache.store.units import SampleFields

COPIED_FROM = "copied_from"
"""In the totals of a plan: the pin and the filter that it was cut out with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetResult:
    """What the new store holds.

    Attributes:
        num_samples: Planned.
        num_units: Written by this run, of all columns.
        num_there: Units that were there already.
        snapshot: That serves them.
    """

    num_samples: int
    num_units: int
    num_there: int
    snapshot: int


def copy_subset(
    snapshot: Snapshot, dest_url: str | Path, *, filter_text: str, on_progress: Progress
) -> SubsetResult:
    """Copy the live samples that a filter selects into a new store; finishes what it finds begun.

    Args:
        snapshot: To be copied from.
        dest_url: An empty place, or a copy of the same snapshot by the same filter.
        filter_text: An expression over plan fields and annotations.
        on_progress: Told of rows, columns counted one by one.

    Raises:
        ConfigError: The filter is wrong or selects nothing.
        StoreError: There is another store, or a column lacks rows that are not encoded yet.
    """
    for view in snapshot.columns.values():
        if view.num_missing:
            raise StoreError(
                f"column {view.name} must be complete to be copied, got {view.num_missing:,} "
                "samples that are not encoded yet; run latentcache encode first"
            )
    chosen = choose_rows(snapshot, list(snapshot.columns), filter_text=filter_text)
    subset = _Subset(snapshot, chosen, {"pin": str(snapshot.pin), "filter": filter_text})
    dest = Store.open_or_create(dest_url)
    generation = subset.planned(dest)
    changes, written, there, done = [], 0, 0, 0
    total = generation.num_rows * len(snapshot.columns)
    for view in snapshot.columns.values():
        record = dest.write_encoding(_own_record(snapshot, view))
        committed = dest.commits(record)
        for unit, rows in subset.units(generation, record):
            if unit.unit in committed:
                there += 1
            else:
                _write_unit(dest, record, (generation, unit), view, rows)
                written += 1
            done += unit.num_rows
            on_progress(done, total)
        for text in view.entry.texts:
            dest.folder.write(text.fields.name, snapshot.folder.read(text.fields.name))
        changes.append(
            ColumnChange(
                record=record,
                merge_statistics=merge_arrays,
                published=view.entry.published,
                texts=view.entry.texts,
            )
        )
    published = dest.publish(changes)
    return SubsetResult(
        num_samples=generation.num_rows,
        num_units=written,
        num_there=there,
        snapshot=published.number,
    )


def _own_record(snapshot: Snapshot, view: ColumnView) -> EncodingRecord:
    """Return the encoding as it was pinned: what a snapshot names in its place comes apart."""
    store = Store(snapshot.folder, snapshot.record.store_id)
    return store.read_encoding(view.name, view.record.fingerprint)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of one shard of the old store."""

    chosen: ChosenRun
    shard: UnitRange
    rows: Any


class _Subset:
    """The rows chosen, bucket by bucket, in the order that they have in the new plan."""

    def __init__(
        self, snapshot: Snapshot, chosen: Sequence[ChosenRun], told: Mapping[str, str]
    ) -> None:
        self._snapshot, self._told = snapshot, dict(told)
        ordered = sorted(chosen, key=lambda each: (each.run.bucket, each.run.is_long))
        self._groups = [
            list(each)
            for _, each in groupby(ordered, lambda one: (one.run.bucket, one.run.is_long))
        ]

    def planned(self, dest: Store) -> Generation:
        """Return the plan of the new store, written unless it is there."""
        there = dest.generations()
        if there:
            if there[0].totals.get(COPIED_FROM) != self._told:
                raise StoreError(
                    f"destination must be empty or a copy of {self._told}, got "
                    f"{there[0].totals.get(COPIED_FROM) or 'a store of its own'} "
                    f"({dest.folder.label}); choose another"
                )
            return there[0]
        newest = self._snapshot.generations[-1]
        draft = GenerationDraft(
            corpus_url=newest.corpus_url,
            corpus_kind=newest.corpus_kind,
            options=newest.options,
            seed=newest.seed,
            runs=tuple(self._runs()),
            rows=self._rows(),
            annotations={
                name: self._values(name) for name in sorted(self._snapshot.record.annotations)
            },
            totals={COPIED_FROM: self._told, **self._classes()},
        )
        return dest.write_generation(draft)

    def _classes(self) -> dict[str, Any]:
        named = [each.totals["classes"] for each in self._snapshot.generations
                 if "classes" in each.totals]  # fmt: skip
        return {"classes": named[-1]} if named else {}

    def _runs(self) -> Iterator[BucketRun]:
        first = 0
        for group in self._groups:
            run = BucketRun(
                bucket=group[0].run.bucket,
                first_shard=first,
                num_rows=sum(len(each.places) for each in group),
                rows_per_shard=group[0].run.rows_per_shard,
            )
            first += run.num_shards
            yield run

    def _pieces(self) -> Iterator[tuple[BucketRun, int, _Piece]]:
        """Yield the rows by old shard, with the new run and their first place in it."""
        for run, group in zip(self._runs(), self._groups, strict=True):
            start = 0
            for chosen in group:
                for shard, rows in chosen.by_shard():
                    yield run, start, _Piece(chosen, shard, rows)
                    start += len(rows)

    def _rows(self) -> Iterator[pa.Table]:
        for run, start, piece in self._pieces():
            table = read_rows(self._snapshot.folder, piece.chosen.generation, piece.shard)
            table = table.take(indices(piece.rows))
            for name, values in zip(
                ("shard", "row"), _numbered(run, start, len(table)), strict=True
            ):
                at = table.schema.get_field_index(name)
                table = table.set_column(at, table.schema.field(name), values)
            yield table

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
    ) -> Iterator[tuple[UnitRange, list[_Piece]]]:
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


def _cut(pieces: Sequence[tuple[int, _Piece]], first: int, stop: int) -> Iterator[_Piece]:
    for start, piece in pieces:
        rows = piece.rows[max(0, first - start) : max(0, stop - start)]
        if len(rows):
            yield replace(piece, rows=rows)


def _write_unit(
    dest: Store,
    record: EncodingRecord,
    planned: tuple[Generation, UnitRange],
    view: ColumnView,
    pieces: Sequence[_Piece],
) -> None:
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
