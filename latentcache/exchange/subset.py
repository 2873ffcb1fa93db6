"""Part of a store copied into a new one: a plan of the samples chosen, their latents as they are.

The new store has an id and shards of its own; keys, encodings and fingerprints stay, so that a
model goes on with it as with the whole. No encoder is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from latentcache.core.errors import StoreError
from latentcache.exchange.chosen_rows import choose_rows
from latentcache.exchange.copying import Progress
from latentcache.exchange.repacking import Repacked, classes_of, summed, write_column
from latentcache.stats import merge_arrays
from latentcache.store import (
    ColumnChange,
    ColumnView,
    EncodingRecord,
    Generation,
    GenerationDraft,
    Snapshot,
    Store,
    write_codebook,
)

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
    told = {"pin": str(snapshot.pin), "filter": filter_text}
    repacked = Repacked(snapshot, chosen)
    dest = Store.open_or_create(dest_url)
    generation = _planned(dest, snapshot, repacked, told)
    told_rows = summed(on_progress, generation.num_rows * len(snapshot.columns))
    changes, num_written, num_there = [], 0, 0
    for view in snapshot.columns.values():
        record = dest.write_encoding(_own_record(snapshot, view))
        written, there = write_column(dest, record, (generation, repacked), view, told_rows)
        num_written, num_there = num_written + written, num_there + there
        if (table := view.codebook()) is not None:
            write_codebook(dest.folder, record, table)
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
        num_units=num_written,
        num_there=num_there,
        snapshot=published.number,
    )


def _own_record(snapshot: Snapshot, view: ColumnView) -> EncodingRecord:
    """Return the encoding as it was pinned: what a snapshot names in its place comes apart."""
    store = Store(snapshot.folder, snapshot.record.store_id)
    return store.read_encoding(view.name, view.record.fingerprint)


def _planned(
    dest: Store, snapshot: Snapshot, repacked: Repacked, told: Mapping[str, str]
) -> Generation:
    """Return the plan of the new store, written unless it is there."""
    there = dest.generations()
    if there:
        if there[0].totals.get(COPIED_FROM) != told:
            raise StoreError(
                f"destination must be empty or a copy of {told}, got "
                f"{there[0].totals.get(COPIED_FROM) or 'a store of its own'} "
                f"({dest.folder.label}); choose another"
            )
        return there[0]
    newest = snapshot.generations[-1]
    draft = GenerationDraft(
        corpus_url=newest.corpus_url,
        corpus_kind=newest.corpus_kind,
        options=newest.options,
        seed=newest.seed,
        runs=repacked.runs,
        rows=repacked.rows(),
        annotations=repacked.annotations(),
        given=repacked.given(),
        num_placements=repacked.num_placements,
        totals={COPIED_FROM: dict(told), **classes_of(snapshot.generations)},
    )
    return dest.write_generation(draft)
