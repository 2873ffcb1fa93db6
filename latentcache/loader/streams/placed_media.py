"""Samples with several rows as streams of samples: one placement of each is drawn an epoch.

Samples that lie in the same buckets (of the same generations) are a *family*: they have one order,
and each of its buckets is a stream over it. A batch is drawn from the family's order by one of
these streams, so a sample comes once an epoch, whichever of its buckets that is in; which of its
rows there is drawn by sample and epoch. So all stays arithmetic, and a batch has one bucket.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from latentcache.core.seeds import keyed_uint64
from latentcache.loader.order.feistel import Indices
from latentcache.loader.order.window_starts import window_starts
from latentcache.loader.select.bitmap import RowBitmap
from latentcache.loader.select.selection import Selection
from latentcache.store import Generation, Snapshot
from latentcache.store.rows import iter_rows

_SAMPLE = ("path", "member", "start_s")
"""What tells samples apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRun:
    """The samples that a source selects of a run.

    Attributes:
        number: Of the run among all of the source.
        generation: Number of it.
        bucket: As files name it.
        num_rows: Planned rows of the run.
        rows: Selected rows, those of a sample beside each other, by the samples' first rows.
        starts: Of each sample, the place in ``rows`` of its first one.
        samples: Of each sample, what tells it from others, in this process.
    """

    number: int
    generation: int
    bucket: str
    num_rows: int
    rows: Indices
    starts: Indices
    samples: Indices

    @property
    def label(self) -> str:
        """Generation and bucket."""
        return f"{self.generation}/{self.bucket}"

    def sizes(self) -> Indices:
        """Return how many rows each sample has."""
        found: Indices = np.diff(np.append(self.starts, len(self.rows)))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyBucket:
    """One bucket of a family: a stream over its samples.

    Attributes:
        run: Number of the run.
        family: Name of the family; keys its order.
        label: Of the bucket in the family.
        selection: The first rows of the samples, in the order of the family.
        choice: Chooses among a sample's rows.
        share: Of the family's rows that are of this bucket: how often it serves.
    """

    run: int
    family: str
    label: str
    selection: Selection
    choice: "PlacementChoice"
    share: Fraction


class PlacementChoice:
    """Which row of a sample is drawn: all of them equally often, each before one comes again."""

    def __init__(self, rows: Indices, starts: Indices) -> None:
        """Remember the rows.

        Args:
            rows: Of the run, those of a sample beside each other, by the samples' first rows.
            starts: The place in ``rows`` of each sample's first one, ascending.
        """
        self._rows, self._starts = rows, starts
        self._stops = np.append(starts[1:], len(rows))
        self._firsts = rows[starts]

    def rows(
        self, firsts: Indices, numbers: Indices, draws: Indices, key: tuple[int, *tuple[str, ...]]
    ) -> Indices:
        """Return the rows drawn.

        Args:
            firsts: First row of each sample.
            numbers: Those rows' numbers in the plan.
            draws: How often each sample was drawn before.
            key: Seed of the run, and names.
        """
        at = np.searchsorted(self._firsts, firsts)
        sizes = self._stops[at] - self._starts[at]
        found: Indices = self._rows[
            self._starts[at] + window_starts(numbers, draws, sizes, key=key)
        ]
        return found

    def others(self, firsts: Indices, step: int) -> Indices:
        """Return another row of each sample, or the first again where it has no more.

        Args:
            firsts: First row of each sample.
            step: Rows after the first.
        """
        at = np.searchsorted(self._firsts, firsts)
        places = self._starts[at] + step
        found: Indices = self._rows[np.where(places < self._stops[at], places, self._starts[at])]
        return found

    @property
    def most(self) -> int:
        """Rows of the sample that has most."""
        return int((self._stops - self._starts).max(initial=1))


def placed_runs(
    snapshot: Snapshot, generation: Generation, selections: Sequence[Selection], first_number: int
) -> Iterator[PlacedRun]:
    """Yield the samples that a source selects of each run of a generation; reads the plan.

    Args:
        snapshot: That is read.
        generation: Of its plan.
        selections: Of the source, by run.
        first_number: Of the first run.
    """
    pieces = (
        np.array([hash(each) for each in zip(*_columns(table), strict=True)], np.int64)
        for table in iter_rows(snapshot.folder, generation, _SAMPLE)
    )
    waiting = np.zeros(0, np.int64)
    runs = zip(generation.runs, selections, strict=True)
    for number, (run, selection) in enumerate(runs, first_number):
        while len(waiting) < run.num_rows:
            waiting = np.concatenate([waiting, next(pieces)])
        of_run, waiting = waiting[: run.num_rows], waiting[run.num_rows :]
        rows = selection.rows_at(np.arange(selection.num_rows))
        if not len(rows):
            continue
        rows, starts, samples = _by_sample(rows, of_run[rows])
        yield PlacedRun(
            number=number,
            generation=generation.number,
            bucket=str(run.bucket),
            num_rows=run.num_rows,
            rows=rows,
            starts=starts,
            samples=samples,
        )


def _by_sample(rows: Indices, samples: Indices) -> tuple[Indices, Indices, Indices]:
    """Return rows with those of a sample beside each other, where each begins, and the samples.

    They lie so in a plan, but in copies, where several generations became one. Samples come in the
    order of their first rows.
    """
    _, first, which = np.unique(samples, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    order = np.argsort(rank[which], kind="stable")
    sizes = np.bincount(rank[which], minlength=len(first))
    starts: Indices = np.cumsum(sizes) - sizes
    return rows[order], starts, samples[np.sort(first)]


def _columns(table: Any) -> list[list[Any]]:
    return [table[name].to_pylist() for name in _SAMPLE]


def families(
    runs: Sequence[PlacedRun], source_name: str, *, is_one_pass: bool
) -> Iterator[FamilyBucket]:
    """Yield the buckets of all families, in an order that depends on the plan alone.

    Args:
        runs: Of a source.
        source_name: Of it.
        is_one_pass: Every sample once: in the first of its buckets.
    """
    every = np.concatenate([run.samples for run in runs])
    _, known = np.unique(every, return_inverse=True)
    bounds = np.cumsum([0, *(len(run.samples) for run in runs)])
    numbers = [known[start:stop] for start, stop in pairwise(bounds)]
    # Of each sample, in which runs it has rows: a sum of numbers drawn for the runs.
    marks = np.zeros(int(known.max()) + 1, np.uint64)
    for run, mine in zip(runs, numbers, strict=True):
        marks[mine] ^= np.uint64(keyed_uint64(0, "family", run.number))
    done: set[int] = set()
    for at in range(len(runs)):
        for mark in dict.fromkeys(marks[numbers[at]].tolist()):
            if mark in done:
                continue
            done.add(mark)
            members = [
                (each, np.flatnonzero(marks[mine] == np.uint64(mark)), mine)
                for each, mine in zip(runs[at:], numbers[at:], strict=True)
            ]
            yield from _family(
                [one for one in members if len(one[1])], source_name, is_one_pass=is_one_pass
            )


def _family(
    members: list[tuple[PlacedRun, Indices, Indices]], source_name: str, *, is_one_pass: bool
) -> Iterator[FamilyBucket]:
    name = " + ".join(run.label for run, _, _ in members)
    totals = [int(run.sizes()[places].sum()) for run, places, _ in members]
    _, first_places, first_numbers = members[0]
    order = first_numbers[first_places]
    for (run, places, numbers), total in zip(members, totals, strict=True):
        mine = numbers[places]
        if not np.array_equal(mine, order):  # as after a copy, which joins generations
            by_number = np.argsort(mine)
            places = places[by_number[np.searchsorted(mine[by_number], order)]]  # noqa: PLW2901
        sizes, ascending = run.sizes(), np.sort(places)
        inside = np.zeros(len(run.starts), bool)
        inside[ascending] = True
        rows = run.rows[np.repeat(inside, sizes)]
        starts = np.cumsum(sizes[ascending]) - sizes[ascending]
        yield FamilyBucket(
            run=run.number,
            family=f"{source_name}/{name}",
            label=run.bucket if len(members) == 1 else f"{run.bucket} of {name}",
            selection=_selection(run.rows[run.starts[places]], run.num_rows),
            choice=PlacementChoice(rows, starts),
            share=Fraction(1) if is_one_pass else Fraction(total, sum(totals)),
        )
        if is_one_pass:
            return


def _selection(firsts: Indices, num_rows: int) -> Selection:
    flags = np.zeros(num_rows, bool)
    flags[firsts] = True
    bitmap = RowBitmap(np.packbits(flags), num_rows)
    is_ascending = bool((firsts[1:] > firsts[:-1]).all())
    ordered = None if is_ascending else firsts
    return Selection(bitmap, bitmap.num_set, bitmap.digest(), ordered)
