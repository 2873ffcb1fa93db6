"""Folding: many small generations of a store packed into one, with full shards and no encoder.

Daily updates leave shards of a few rows each. Their live rows become a new generation, with the
very latents, captions and digests; where they were they are retired, as rows are that changed.
Nothing that an older snapshot names is touched, so a run that reads one keeps its order, and ``gc
--compact`` frees what is there twice when no run needs it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from latentcache.core.errors import StoreError
from latentcache.exchange.chosen_rows import ChosenRun, choose_rows
from latentcache.exchange.copying import Progress
from latentcache.exchange.repacking import Repacked, classes_of, summed, write_column
from latentcache.stats import merge_arrays
from latentcache.store import ColumnChange, Generation, GenerationDraft, Snapshot, Store
from latentcache.store.rows import retired_table

FOLDED = "folded"
"""Reason of rows that lie in a later generation now; in its totals: out of which snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldResult:
    """What folding did, or in a dry run would do.

    Attributes:
        num_samples: Live samples that moved.
        num_generations: Generations that gave some.
        num_shards_before: Shards that they lay in.
        num_shards: Shards that they lie in now.
        num_units: Written by this run, of all columns.
        snapshot: That serves them; 0 where nothing was to be folded, and in a dry run.
    """

    num_samples: int = 0
    num_generations: int = 0
    num_shards_before: int = 0
    num_shards: int = 0
    num_units: int = 0
    snapshot: int = 0


def fold_store(store: Store, *, dry_run: bool, on_progress: Progress) -> FoldResult:
    """Pack the shards that small generations left half empty; finishes a fold that was killed.

    Args:
        store: Every served column must have all its rows.
        dry_run: Say what would be done, and write nothing.
        on_progress: Told of rows, columns counted one by one.

    Raises:
        StoreError: Nothing is served, a column lacks rows, or the plan grew meanwhile.
    """
    generations = store.generations()
    begun = _begun(store, generations)
    snapshot = store.snapshot(begun.totals[FOLDED]["snapshot"] if begun else None)
    if begun is None:
        _check_complete(store, snapshot, generations)
    chosen = small_runs(snapshot)
    if not chosen:
        return FoldResult()
    covered = generations[: begun.number] if begun else generations
    first_shard = sum(each.num_shards for each in covered)
    repacked = Repacked(snapshot, chosen, first_shard=first_shard)
    counts = FoldResult(
        num_samples=sum(len(each.places) for each in chosen),
        num_generations=len({each.generation.number for each in chosen}),
        num_shards_before=sum(each.run.num_shards for each in chosen),
        num_shards=sum(run.num_shards for run in repacked.runs),
    )
    if dry_run:
        return counts
    generation = begun or _planned(store, snapshot, repacked, chosen)
    num_units = _write_columns(store, snapshot, (generation, repacked), on_progress)
    changes = [
        ColumnChange(record=view.record, merge_statistics=merge_arrays)
        for view in store.snapshot().columns.values()
    ]
    published = store.publish(changes, allow_partial=True)
    return FoldResult(
        num_samples=counts.num_samples,
        num_generations=counts.num_generations,
        num_shards_before=counts.num_shards_before,
        num_shards=counts.num_shards,
        num_units=num_units,
        snapshot=published.number,
    )


def small_runs(snapshot: Snapshot) -> list[ChosenRun]:
    """Return the live rows of each bucket that two or more generations left in less than a shard.

    Long clips have a shard each, whatever generation planned them, and stay.
    """
    by_bucket: defaultdict[str, list[ChosenRun]] = defaultdict(list)
    for each in choose_rows(snapshot, list(snapshot.columns)):
        if each.run.num_rows < each.run.rows_per_shard:
            by_bucket[str(each.run.bucket)].append(each)
    return [each for several in by_bucket.values() if len(several) > 1 for each in several]


def _begun(store: Store, generations: Sequence[Generation]) -> Generation | None:
    """Return the newest generation if it is a fold that no snapshot serves yet."""
    newest = generations[-1] if generations else None
    if newest is None or FOLDED not in newest.totals or not store.snapshots():
        return None
    served = store.snapshot().generations
    return None if any(each.number == newest.number for each in served) else newest


def _check_complete(store: Store, snapshot: Snapshot, generations: Sequence[Generation]) -> None:
    num_missing = {view.name: view.num_missing for view in snapshot.columns.values()}
    for name, count in num_missing.items():
        if count or snapshot.columns[name].entry.num_generations != len(generations):
            raise StoreError(
                f"column {name} must have all planned rows for small generations to be folded, got "
                f"{count or 'a generation'} missing in snapshot {snapshot.number} "
                f"({store.folder.label}); run latentcache build or encode first"
            )


def _planned(
    store: Store, snapshot: Snapshot, repacked: Repacked, chosen: Sequence[ChosenRun]
) -> Generation:
    newest = snapshot.generations[-1]
    draft = GenerationDraft(
        corpus_url=newest.corpus_url,
        corpus_kind=newest.corpus_kind,
        options=newest.options,
        seed=newest.seed,
        runs=repacked.runs,
        rows=repacked.rows(),
        retired=_retired(chosen),
        annotations=repacked.annotations(),
        given=repacked.given(),
        num_placements=repacked.num_placements,
        totals={FOLDED: {"snapshot": snapshot.number}, **classes_of(snapshot.generations)},
    )
    return store.write_generation(draft)


def _retired(chosen: Sequence[ChosenRun]) -> Iterator[pa.Table]:
    for each in sorted(chosen, key=lambda one: one.run.first_shard):
        for shard, rows in each.by_shard():
            yield retired_table((shard.unit.shard, row, FOLDED) for row in rows.tolist())


def _write_columns(
    store: Store,
    snapshot: Snapshot,
    planned: tuple[Generation, Repacked],
    on_progress: Progress,
) -> int:
    """Commit the units of every column that are not there, and return how many were written."""
    generation, _ = planned
    told_rows = summed(on_progress, generation.num_rows * len(snapshot.columns))
    num_written = 0
    for view in snapshot.columns.values():
        record = store.read_encoding(view.name, view.record.fingerprint)
        num_written += write_column(store, record, planned, view, told_rows)[0]
    return num_written
