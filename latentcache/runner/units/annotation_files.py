"""The annotation that a column is made of: one revision for a whole run, and rows of other ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latentcache.core.units import UnitId, UnitRange
from latentcache.runner.units.unit_tools import MADE_OF
from latentcache.storage import Folder, map_ahead
from latentcache.store import (
    Annotation,
    AnnotationFile,
    Commit,
    CommitRef,
    EncodingRecord,
    Generation,
    Store,
)
from latentcache.store.format import read_meta
from latentcache.store.snapshots import PlanView


@dataclass(frozen=True, slots=True)
class AnnotationFiles:
    """One revision of an annotation, by generation.

    Attributes:
        name: Of the annotation.
        files: Its file of each generation that has any.
    """

    name: str
    files: Mapping[int, str]

    def file_of(self, unit: UnitRange) -> str:
        """Return the annotation's file for a unit, "" where its generation has none."""
        return self.files.get(unit.generation, "")


def newest_files(store: Store, name: str) -> dict[int, Annotation]:
    """Return the newest revision of an annotation, by generation; none where it has none."""
    found = ((each.number, store.annotation(each, name)) for each in store.generations())
    return {number: annotation for number, annotation in found if annotation is not None}


def read_values(folder: Folder, generation: Generation, file: str, unit: UnitRange) -> list[Any]:
    """Return an annotation's values of each row of a unit; None of all where ``file`` is ""."""
    if not file:
        return [None] * unit.num_rows
    parsed = AnnotationFile.parse(file)
    assert parsed is not None, f"{file} was found as an annotation"
    annotation = Annotation(folder, generation, parsed)
    rows = np.arange(unit.first_row, unit.first_row + unit.num_rows)
    values = annotation.take(np.full(unit.num_rows, unit.unit.shard), rows)
    return list(values.to_pylist())


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeUnit:
    """A committed unit that was made of another file of its annotation than the one now.

    Attributes:
        folder: The store.
        unit: Its rows.
        generation: Of the plan.
        commit: Of the unit.
        is_live: (num_rows,) bool; False where a row is retired.
        now: File of the annotation now, "" if there is none.
    """

    folder: Folder
    unit: UnitRange
    generation: Generation
    commit: Commit
    is_live: npt.NDArray[np.bool_]
    now: str

    def digests(self) -> npt.NDArray[np.uint8]:
        """Return what each row was made of, (num_rows, 16); zeros where it had nothing."""
        name, unit = self.commit.meta.name, self.unit
        data = self.folder.read(name)
        meta = read_meta(data, first_row=unit.first_row, num_rows=unit.num_rows, where=name)
        return np.asarray(meta.source_digest, np.uint8)


def differing_rows(
    store: Store,
    record: EncodingRecord,
    source: AnnotationFiles,
    differ: Callable[[MadeUnit], npt.NDArray[np.bool_]],
) -> dict[UnitId, npt.NDArray[np.int64]]:
    """Return the committed units that hold live rows that differ from an annotation, and these.

    Args:
        store: The store.
        record: An encoding that is made of the annotation.
        source: What there is now; a unit that was made of that very file is not asked about.
        differ: Given a unit, tells which of its rows differ, (num_rows,).
    """
    generations = {each.number: each for each in store.generations()}
    units = {unit.unit: unit for unit in store.units(record)}
    plan = PlanView.read(store.folder, store.generations())
    committed = [(units[unit], ref) for unit, ref in store.commits(record).items() if unit in units]

    def compared(each: tuple[UnitRange, CommitRef]) -> npt.NDArray[np.int64]:
        unit, ref = each
        commit, now = store.read_commit(ref), source.file_of(unit)
        if now == commit.software.get(MADE_OF):
            return np.zeros(0, np.int64)
        is_live = np.ones(unit.num_rows, np.bool_)
        is_live[plan.retired_rows(unit) - unit.first_row] = False
        generation = generations[unit.generation]
        made = MadeUnit(folder=store.folder, unit=unit, generation=generation, commit=commit,
                        is_live=is_live, now=now)  # fmt: skip
        return np.flatnonzero(differ(made) & is_live) + unit.first_row

    found = zip(committed, map_ahead(compared, committed), strict=True)
    return {unit.unit: rows for (unit, _), rows in found if len(rows)}
