"""Compacting a store: what it holds of retired samples goes, and what serves stays served."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from latentcache.core.errors import StoreError
from latentcache.core.units import UnitRange
from latentcache.runner.retiring import publish_as_planned
from latentcache.runner.run_progress import Reporter, RunProgress
from latentcache.stats import count_stored, with_posterior_share
from latentcache.store import EncodingRecord, Held, Store, clear_values, copy_unit, find_held
from latentcache.store.format import UnitMeta
from latentcache.store.units import UnitSample


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactResult:
    """What compacting did, or in a dry run would do.

    Attributes:
        num_units: Units copied without retired samples.
        num_samples: Retired samples that their tars held; one that several encodings held is one.
        num_bytes: Bytes of the tars that they were copied from.
        num_values: Captions, labels and fields of retired samples that became null.
        showing: Snapshots that show what is to go; in a dry run the newest may be one.
        left: Commits and annotation files that still hold some, for ``collect_garbage``.
    """

    num_units: int
    num_samples: int
    num_bytes: int
    num_values: int
    showing: tuple[int, ...]
    left: tuple[str, ...]


def compact(store: Store, *, dry_run: bool, reporter: Reporter) -> CompactResult:
    """Write again what holds retired samples, without them, and serve that; no encoder is needed.

    What was written before stays until ``collect_garbage`` finds that nothing names it: whoever
    reads an older snapshot is not disturbed. Killed anywhere, it is as it was or further; again, it
    finishes.

    Raises:
        StoreError: A unit that holds retired samples cannot be read.
    """
    held = find_held(store)
    if held.broken:
        raise StoreError(
            f"units to compact must be readable, got {len(held.broken)} that are not (e.g. "
            f"{held.broken[0]}); run latentcache verify {store.folder.label} --repair first"
        )
    left = held
    if held.objects and not dry_run:
        _copy(store, held, reporter)
        for values in held.values:
            clear_values(store, values)
        # Of a run that was killed the copies may be there, and nothing that serves them.
        publish_as_planned(store)
        left = find_held(store)
    return CompactResult(
        num_units=len(held.units),
        num_samples=len(_samples_in(held)),
        num_bytes=held.num_bytes,
        num_values=sum(len(each.rows) for each in held.values),
        showing=left.snapshots,
        left=left.objects,
    )


def _samples_in(held: Held) -> set[tuple[int, int]]:
    """Return shard and row of the retired samples that tars hold."""
    return {(each.entry.unit.unit.shard, row) for each in held.units for row in each.held.tolist()}


def _copy(store: Store, held: Held, reporter: Reporter) -> None:
    started_s, done = time.monotonic(), 0
    total = sum(each.entry.unit.num_rows for each in held.units)
    for each in held.units:
        copy_unit(store, each, _recount)
        done += each.entry.unit.num_rows
        elapsed_s = time.monotonic() - started_s
        reporter.update(RunProgress(stage="copy", done=done, total=total, elapsed_s=elapsed_s))


def _recount(
    record: EncodingRecord, unit: UnitRange, samples: Iterator[UnitSample], meta: UnitMeta
) -> dict[str, Any]:
    counted = count_stored(record, unit.bucket, (sample.fields for sample in samples))
    return with_posterior_share(counted, meta.statistics)
