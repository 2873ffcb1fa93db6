"""The live rows of a snapshot that a filter selects, walked in plan order with what they hold."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latentcache.core.errors import ConfigError
from latentcache.core.rejects import Reject
from latentcache.core.units import BucketRun, UnitId, UnitRange
from latentcache.loader import Source
from latentcache.loader.select import select_rows
from latentcache.store import ColumnView, Generation, Snapshot
from latentcache.store.format import indices
from latentcache.store.rows import read_rows
from latentcache.store.snapshots import PlanView
from latentcache.store.units import SampleFields, iter_unit, read_unit_meta

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ChosenRun:
    """Rows of one run of one generation.

    Attributes:
        generation: Whose run it is.
        run: The run.
        places: Rows, counted from the start of the run, ascending.
    """

    generation: Generation
    run: BucketRun
    places: Indices

    def by_shard(self) -> Iterator[tuple[UnitRange, Indices]]:
        """Yield each shard of which rows are chosen, whole, and these rows in it."""
        size = self.run.rows_per_shard
        shards, rows = np.divmod(self.places, size)
        for shard in np.unique(shards).tolist():
            number = self.run.first_shard + shard
            unit = UnitRange(
                unit=UnitId(number, 0),
                generation=self.generation.number,
                bucket=self.run.bucket,
                first_row=0,
                num_rows=self.run.rows_in_shard(number),
            )
            yield unit, rows[shards == shard]


def choose_rows(
    snapshot: Snapshot, columns: Sequence[str], *, filter_text: str = ""
) -> list[ChosenRun]:
    """Return the live rows that a filter selects, of the generations that all columns cover.

    Args:
        snapshot: Whose rows.
        columns: Names; they must be encoded.
        filter_text: An expression over plan fields and annotations; "" for all rows.

    Raises:
        ConfigError: The filter is wrong, or selects nothing.
        StoreError: The snapshot has no such column.
    """
    views = [snapshot.column(name) for name in columns]
    covered = min((view.entry.num_generations for view in views), default=None)
    generations = snapshot.generations[:covered]
    plan = PlanView.read(snapshot.folder, snapshot.generations)
    source = Source(store=snapshot.folder.url, filter=filter_text)
    found = []
    for generation in generations:
        selections = select_rows(source, snapshot, generation)
        for run, selection in zip(generation.runs, selections, strict=True):
            rows = selection.rows
            places = np.arange(run.num_rows) if rows is None else np.asarray(rows, np.int64)
            places = np.setdiff1d(places, plan.retired_places(run))
            if len(places):
                found.append(ChosenRun(generation, run, places))
    if not found:
        raise ConfigError(
            f"filter must select a sample, got none ({filter_text or 'without one'}); correct it"
        )
    return found


@dataclass(frozen=True, slots=True)
class ColumnRow:
    """What a column holds of one row: its fields, or why it has none.

    Attributes:
        row: In the shard.
        fields: Stored fields; {} if there are none.
        reject: Why there are none; None where there are, or where no unit covers the row yet.
        source_digest: 16 bytes; zeros if unknown.
    """

    row: int
    fields: SampleFields
    reject: Reject | None
    source_digest: bytes


def iter_column(view: ColumnView, shard: UnitRange, rows: Indices) -> Iterator[ColumnRow]:
    """Yield what a column holds of some rows of a shard, ascending; one sample at a time.

    Raises:
        ShardCorruptError: A unit differs from its commit.
    """
    per_unit = view.record.rows_per_unit
    parts = rows // per_unit
    for part in np.unique(parts).tolist():
        wanted = rows[parts == part].tolist()
        entry = view.unit(UnitId(shard.unit.shard, part))
        if entry is None:
            yield from (ColumnRow(row, {}, None, bytes(16)) for row in wanted)
            continue
        meta = read_unit_meta(view.folder, entry)
        samples = iter_unit(view.folder, entry, column=view.name)
        for row in wanted:
            digest = meta.source_digest[row - meta.first_row].tobytes()
            if meta.slot_of(row) is None:
                yield ColumnRow(row, {}, meta.reject_of(row), digest)
                continue
            sample = next(each for each in samples if each.row == row)
            yield ColumnRow(row, sample.fields, None, digest)


@dataclass(frozen=True, slots=True)
class LiveSample:
    """One sample with all that was asked for.

    Attributes:
        planned: Its row of the plan.
        annotations: Values by name; those that it has.
        fields: Stored fields by column.
    """

    planned: Mapping[str, Any]
    annotations: Mapping[str, Any]
    fields: Mapping[str, SampleFields]


def iter_samples(
    snapshot: Snapshot,
    chosen: ChosenRun,
    columns: Sequence[str],
    annotations: Sequence[str],
    lacking: Counter[str],
) -> Iterator[LiveSample]:
    """Yield samples in plan order; memory holds one.

    Args:
        snapshot: That is read.
        chosen: Its rows.
        columns: A sample that one of them lacks is left out.
        annotations: Names.
        lacking: Counts samples left out, by the column that lacks them.
    """
    views = [snapshot.column(name) for name in columns]
    for shard, rows in chosen.by_shard():
        table = read_rows(snapshot.folder, chosen.generation, shard).take(indices(rows))
        values = _annotations(snapshot, chosen.generation, annotations, shard, rows)
        streams = zip(*(iter_column(view, shard, rows) for view in views), strict=True)
        for at, (planned, parts) in enumerate(zip(table.to_pylist(), streams, strict=True)):
            absent = [name for name, part in zip(columns, parts, strict=True) if not part.fields]
            if absent:
                lacking[absent[0]] += 1
                continue
            told = {name: each[at] for name, each in values.items() if each[at] is not None}
            fields = {name: part.fields for name, part in zip(columns, parts, strict=True)}
            yield LiveSample(planned, told, fields)


def _annotations(
    snapshot: Snapshot,
    generation: Generation,
    names: Sequence[str],
    shard: UnitRange,
    rows: Indices,
) -> dict[str, list[Any]]:
    found = {}
    for name in names:
        annotation = snapshot.annotation(name, generation.number)
        if annotation is not None:
            shards = np.full(len(rows), shard.unit.shard)
            found[name] = annotation.take(shards, rows).to_pylist()
    return found
