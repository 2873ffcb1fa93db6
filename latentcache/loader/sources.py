"""Sources: which rows of which snapshot a run trains on, and how much of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from latentcache.core.errors import ConfigError
from latentcache.core.seeds import keyed_uniform
from latentcache.core.units import BucketRun
from latentcache.loader.filters import Filter, parse_filter
from latentcache.loader.permutation import Indices
from latentcache.store import Generation, Pin, Snapshot, Store
from latentcache.store.plan_tables import PLAN_SCHEMA, iter_rows

Split = Literal["all", "train", "val"]
_MEDIUM_FIELDS = ("path", "member")
_PLACE_FIELDS = ("shard", "row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows of one store.

    Attributes:
        store: A URL, or an open store.
        name: Keys the order; give one where a source may be added before this one.
        snapshot: A number or a pin; None is the newest, pinned when the run begins.
        filter: Expression over plan fields and annotations; "" is everything.
        weight: Share of the samples, relative to the other sources; None is in
            proportion to its rows times ``repeats``.
        repeats: Times an epoch goes through the source; only without ``weight``.
        split: ``train`` or ``val`` of a split by medium: clips and crops of one file are
            all on one side, for ever.
        holdout: Share of the media in ``val``.
        split_seed: Draws another split.
    """

    store: str | Path | Store
    name: str = ""
    snapshot: int | Pin | None = None
    filter: str = ""
    weight: float | None = None
    repeats: float = 1.0
    split: Split = "all"
    holdout: float = 0.01
    split_seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in ("all", "train", "val"):
            raise ConfigError(f"split must be all, train or val, got {self.split!r}")
        if not 0 < self.holdout < 1:
            raise ConfigError(f"holdout must be between 0 and 1, got {self.holdout}; use 0.01")
        if not 0 < self.repeats < float("inf"):
            raise ConfigError(f"repeats must be positive, got {self.repeats}; use 1")
        if self.weight is not None and self.repeats != 1:
            raise ConfigError(
                f"repeats must be 1 beside a weight, got {self.repeats}; a weight alone says "
                f"how much of the source is seen"
            )

    def open(self, pin: Pin | None = None) -> Snapshot:
        """Return the snapshot to read; ``pin`` stands in for the newest."""
        store = self.store if isinstance(self.store, Store) else Store.open(self.store)
        if isinstance(self.snapshot, Pin):
            return store.pinned_snapshot(self.snapshot)
        if self.snapshot is not None:
            return store.snapshot(self.snapshot)
        return store.pinned_snapshot(pin) if pin else store.snapshot()

    def selection_key(self) -> str:
        """Return what, beside the snapshot, decides which rows are selected."""
        if self.split == "all":
            return f"all|{self.filter}"
        return f"{self.split}|{self.holdout}|{self.split_seed}|{self.filter}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows of one run that a source selects.

    Attributes:
        rows: Their places in the run, ascending; None is all of them.
        num_rows: How many.
        digest: Of the bitmap; "all" without one.
    """

    rows: Indices | None
    num_rows: int
    digest: str


def select_rows(source: Source, snapshot: Snapshot, generation: Generation) -> list[Selection]:
    """Return what a source selects of each run of a generation.

    Raises:
        ConfigError: The filter is wrong, or speaks of what the snapshot lacks.
    """
    if not source.filter and source.split == "all":
        return [Selection(None, run.num_rows, "all") for run in generation.runs]
    parsed = parse_filter(source.filter) if source.filter else None
    flags = [np.zeros(run.num_rows, bool) for run in generation.runs]
    for table in _iter_tables(snapshot, generation, parsed, source):
        selected = np.ones(len(table["shard"]), bool)
        if parsed is not None:
            selected &= parsed.select({name: table[name] for name in parsed.names})
        if source.split != "all":
            selected &= _split_flags(source, table)
        shards, rows = table["shard"].to_numpy()[selected], table["row"].to_numpy()[selected]
        for run, bitmap in zip(generation.runs, flags, strict=True):
            bitmap[_places(run, shards, rows)] = True
    return [_selection(bitmap) for bitmap in flags]


def _selection(bitmap: np.ndarray[Any, np.dtype[np.bool_]]) -> Selection:
    rows = np.flatnonzero(bitmap)
    if len(rows) == len(bitmap):
        return Selection(None, len(bitmap), "all")
    digest = blake2b(np.packbits(bitmap).tobytes(), digest_size=16).hexdigest()
    return Selection(rows, len(rows), digest)


def _places(run: BucketRun, shards: Indices, rows: Indices) -> Indices:
    inside = (shards >= run.first_shard) & (shards < run.first_shard + run.num_shards)
    places: Indices = (shards[inside].astype(np.int64) - run.first_shard) * run.rows_per_shard
    return places + rows[inside]


def _iter_tables(
    snapshot: Snapshot, generation: Generation, parsed: Filter | None, source: Source
) -> Iterator[dict[str, Any]]:
    names = set(parsed.names) if parsed else set()
    fields = names & set(PLAN_SCHEMA.names)
    annotations = names - fields
    _check_names(annotations, snapshot, source)
    wanted = sorted(fields | set(_PLACE_FIELDS))
    if source.split != "all":
        wanted = sorted({*wanted, *_MEDIUM_FIELDS})
    opened = {name: snapshot.annotation(name, generation.number) for name in annotations}
    for table in iter_rows(snapshot.folder, generation, wanted):
        values: dict[str, Any] = {name: table[name].combine_chunks() for name in table.column_names}
        if "bucket" in values:
            values["bucket"] = values["bucket"].cast(pa.string())
        shards, rows = values["shard"].to_numpy(), values["row"].to_numpy()
        for name, annotation in opened.items():
            values[name] = annotation.take(shards, rows) if annotation else pa.nulls(len(rows))
        yield values


def _check_names(annotations: set[str], snapshot: Snapshot, source: Source) -> None:
    known = set(snapshot.record.annotations)
    for name in sorted(annotations - known):
        fields = ", ".join(PLAN_SCHEMA.names)
        raise ConfigError(
            f"filter must speak of plan fields ({fields}) or annotations "
            f"({', '.join(sorted(known)) or 'none'}), got {name!r} ({source.filter}); correct it"
        )


def _split_flags(source: Source, table: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    flags = np.empty(len(table["path"]), bool)
    before: tuple[str, str] | None = None
    is_held_out = False
    media = zip(table["path"].to_pylist(), table["member"].to_pylist(), strict=True)
    for index, medium in enumerate(media):
        if medium != before:  # clips of one medium follow each other
            is_held_out = keyed_uniform(source.split_seed, "split", *medium) < source.holdout
            before = medium
        flags[index] = is_held_out
    return flags if source.split == "val" else ~flags


Sources = str | Path | Store | Source | Sequence[str | Path | Store | Source]
"""What a user may give for sources."""


def as_sources(given: Sources) -> tuple[Source, ...]:
    """Return the sources that a user gave: a store, its URL, a source, or several of them.

    Raises:
        ConfigError: There is none, or only some have a weight.
    """
    several = [given] if isinstance(given, str | Path | Store | Source) else list(given)
    sources = []
    for number, one in enumerate(several):
        source = one if isinstance(one, Source) else Source(store=one)
        if not source.name:
            values = {field: getattr(source, field) for field in Source.__dataclass_fields__}
            source = Source(**{**values, "name": str(number)})
        sources.append(source)
    weighted = [source.weight is not None for source in sources]
    if not sources or (any(weighted) and not all(weighted)):
        raise ConfigError(
            f"weights must be given to all sources or to none, got "
            f"{[source.weight for source in sources]}; give each a weight"
        )
    return tuple(sources)
