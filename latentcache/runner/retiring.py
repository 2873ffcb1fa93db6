"""Taking samples out of a plan: a generation that only retires, snapshots that leave them out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from latentcache.core.counts import count_text
from latentcache.core.errors import ConfigError
from latentcache.core.findings import MAX_EXAMPLES
from latentcache.plan import TAKEN_DOWN, PlannedRow, iter_planned
from latentcache.stats import merge_arrays
from latentcache.store import ColumnChange, GenerationDraft, Snapshot, Store
from latentcache.store.rows import retired_table


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireResult:
    """What a takedown found.

    Attributes:
        num_retired: Rows that it took out: one a sample, unless the plan places samples more than
            once; of one video there may be many clips.
        num_media: How many files or members these are of; None where each sample has one row.
        num_before: Rows named that had been taken down before.
        unknown: Names that no sample has.
        snapshot: The first that leaves the samples out; None if nothing was published yet.
        older_snapshots: Those that still show them.
    """

    num_retired: int
    num_media: int | None
    num_before: int
    unknown: tuple[str, ...]
    snapshot: int | None
    older_snapshots: tuple[int, ...]


def retire_samples(store: Store, names: Iterable[str]) -> RetireResult:
    """Take samples out of the plan by key or path, for good.

    The next snapshot leaves them out in every column, and an update does not plan them again.
    Snapshots of before, and the tars, keep them.

    Args:
        store: With a plan.
        names: Keys (20 hex digits), paths relative to the corpus root, or ``tar!member``.

    Raises:
        StoreError: The store has no plan.
        ConfigError: No sample has any of the names, or all samples do.
    """
    wanted = {name: 0 for name in names if name}
    if not wanted:
        raise ConfigError("samples must be named, got none; give keys, paths or --from FILE")
    generations = store.planned_generations()
    found: list[PlannedRow] = []
    num_live = num_before = 0
    for row in iter_planned(store.folder, generations):
        num_live += row.shard >= 0 and not row.is_taken_down
        named = [name for name in (row.key, row.label, row.path) if name in wanted]
        for name in named:
            wanted[name] += 1
        if named and row.is_taken_down:
            num_before += 1
        elif named:
            found.append(row)
    unknown = tuple(name for name, count in wanted.items() if not count)
    if len(unknown) == len(wanted):
        raise ConfigError(
            f"samples must be the plan's, got {count_text(len(unknown), 'name')} that no live "
            f"sample has (e.g. {unknown[0]}); give keys, or paths relative to the corpus root"
        )
    num_rows = sum(row.shard >= 0 for row in found)
    if num_rows and num_rows == num_live:
        raise ConfigError(
            f"some samples must stay, got all {num_live:,} of the plan; to give the store up, "
            "delete it"
        )
    older = tuple(store.snapshots())
    has_placements = any(each.num_placements > 1 for each in generations)
    snapshot = None
    if found:
        examples = [row.label for row in found[:MAX_EXAMPLES]]
        finding = {"kind": "taken_down", "count": len(found), "examples": examples}
        retired = retired_table((row.retired_shard, row.row, TAKEN_DOWN) for row in found)
        snapshot = retire_rows(store, retired, finding)
    return RetireResult(
        num_retired=len(found),
        num_media=len({row.label for row in found}) if has_placements else None,
        num_before=num_before,
        unknown=unknown,
        snapshot=snapshot.number if snapshot else None,
        older_snapshots=older if found else (),
    )


def retire_rows(store: Store, retired: pa.Table, finding: dict[str, Any]) -> Snapshot | None:
    """Add a generation that has no rows and retires some; serve what is served without them.

    Args:
        store: With a plan.
        retired: From ``retired_table``.
        finding: Kind, count and examples, for ``status``.
    """
    newest = store.generations()[-1]
    draft = GenerationDraft(
        corpus_url=newest.corpus_url,
        corpus_kind=newest.corpus_kind,
        options=newest.options,
        seed=newest.seed,
        runs=(),
        rows=(),
        retired=[retired],
        totals={"findings": [finding]},
    )
    store.write_generation(draft)
    return publish_as_planned(store)


def publish_as_planned(store: Store) -> Snapshot | None:
    """Serve every column by the plan as it is now; nothing is encoded. None without a snapshot."""
    columns = store.snapshot().columns.values() if store.snapshots() else ()
    changes = [ColumnChange(record=view.record, merge_statistics=merge_arrays) for view in columns]
    return store.publish(changes, allow_partial=True) if changes else None
