"""Opening sources: their snapshots, the streams in them, and that all speak of one encoding."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from latentcache.core.errors import ConfigError
from latentcache.loader.cache.shard_cache import ShardCache
from latentcache.loader.index.column_units import ColumnUnits
from latentcache.loader.select.bitmap import RowBitmap
from latentcache.loader.select.selection import Selection, select_rows
from latentcache.loader.select.source import Source
from latentcache.loader.streams.make_streams import StreamRule, make_streams
from latentcache.loader.streams.placed_media import PlacedRun, families, placed_runs
from latentcache.loader.streams.stream import SelectedRun, Stream, StreamPlace
from latentcache.loader.streams.stream_column import Access
from latentcache.store import ColumnView, Pin, Snapshot
from latentcache.store.snapshots import PlanView

_WHOLE_BUCKETS = StreamRule()


@dataclass(frozen=True, slots=True)
class OpenSource:
    """A source with the snapshot it is read from.

    Attributes:
        source: As asked for.
        snapshot: Pinned.
        streams: Those with any selected row.
        cache: Holds objects of remote stores, or None.
    """

    source: Source
    snapshot: Snapshot
    streams: tuple[Stream, ...]
    cache: ShardCache | None = None

    def weights(self) -> list[Fraction]:
        """Return the share of samples of each stream."""
        rows = [Fraction(stream.selection.num_rows) for stream in self.streams]
        shares = [stream.share for stream in self.streams]
        rows = [count * share for count, share in zip(rows, shares, strict=True)]
        if self.source.weight is None:
            return [Fraction(self.source.repeats) * count for count in rows]
        if not 0 <= self.source.weight < float("inf"):
            raise ConfigError(
                f"weight must be finite and not negative, got {self.source.weight} "
                f"(source {self.source.name})"
            )
        return [Fraction(self.source.weight) * count / sum(rows) for count in rows]


def open_sources(
    sources: Sequence[Source],
    pins: Sequence[Pin | None],
    columns: Sequence[str],
    cache: ShardCache | None = None,
    *,
    is_verified: bool = False,
    rule: StreamRule = _WHOLE_BUCKETS,
) -> list[OpenSource]:
    """Return the sources, open.

    Args:
        sources: At least one.
        pins: Per source, the snapshot that stands in for the newest, or None.
        columns: Names of tensor columns; annotations among them are passed over.
        cache: Holds tars of remote stores.
        is_verified: Compare local tars with their checksums when they are first needed.
        rule: What makes streams.

    Raises:
        ConfigError: A source selects nothing, or columns differ in encoding.
    """
    opened = [
        _open_source((number, source), pin, columns, Access(cache, is_verified), rule)
        for number, (source, pin) in enumerate(zip(sources, pins, strict=True))
    ]
    for name in columns:
        _check_one_encoding(name, opened)
    return opened


def tensor_columns(snapshot: Snapshot, columns: Sequence[str]) -> dict[str, ColumnView]:
    """Return those columns that an encoder made."""
    return {name: snapshot.columns[name] for name in columns if name in snapshot.columns}


def _open_source(
    numbered: tuple[int, Source],
    pin: Pin | None,
    columns: Sequence[str],
    access: Access,
    rule: StreamRule,
) -> OpenSource:
    number, source = numbered
    if source.placements == "one" and (rule.window_frames or rule.batch_by):
        raise ConfigError(
            f'window_frames and batch_by must be left away where placements is "one", got '
            f"{rule.window_frames} and {', '.join(rule.batch_by) or 'none'} (source "
            f"{source.name}); read whole clips, or all placements"
        )
    snapshot = source.open(pin)
    source = source.with_holdout(snapshot.generations[0].num_rows)
    views = tensor_columns(snapshot, columns)
    if not views:
        raise ConfigError(
            f"columns must hold one that is encoded ({', '.join(sorted(snapshot.columns))}), got "
            f"{', '.join(columns)} (source {source.name}); add it"
        )
    units = {name: ColumnUnits.read(view) for name, view in views.items()}
    streams = []
    selected = list(_selected_runs(source, snapshot, views, access.cache))
    if source.placements == "one":
        selected = _placed(source, snapshot, selected, is_one_pass=rule.is_one_pass)
    for runs in selected:
        place = StreamPlace(name=source.name, source=number, generation=runs[0])
        streams += list(make_streams(place, runs[1], units, access, rule))
    if not streams:
        raise ConfigError(
            f"filter and split must select a row, got none (source {source.name}, "
            f"{source.selection_key()}); {_way_out(source)}"
        )
    return OpenSource(source, snapshot, tuple(streams), access.cache)


def _way_out(source: Source) -> str:
    if source.split == "val" and not source.filter:
        return "raise holdout"
    return "correct the filter" if source.filter else "lower holdout"


def _selected_runs(
    source: Source, snapshot: Snapshot, views: Mapping[str, ColumnView], cache: ShardCache | None
) -> Iterator[tuple[int, list[SelectedRun]]]:
    """Yield each generation's number, and its runs of which the source selects any row."""
    plan = PlanView.read(snapshot.folder, snapshot.generations)
    first_place = 0
    # A snapshot published before the plan grew does not cover what was planned since.
    num_generations = min(view.entry.num_generations for view in views.values())
    for generation in snapshot.generations[:num_generations]:
        found = []
        selections = select_rows(source, snapshot, generation, cache)
        for run, selection in zip(generation.runs, selections, strict=True):
            gone = plan.retired_places(run)
            num_gone = len(gone)
            if selection.bitmap is not None and num_gone:
                num_gone = int(selection.bitmap.contains(gone).sum())
            if selection.num_rows > num_gone:  # else all are live no more, as after a fold
                found.append(SelectedRun(run, first_place, selection, gone))
            first_place += run.num_rows
        yield generation.number, found


def _placed(
    source: Source,
    snapshot: Snapshot,
    selected: list[tuple[int, list[SelectedRun]]],
    *,
    is_one_pass: bool,
) -> list[tuple[int, list[SelectedRun]]]:
    """Return the buckets of families of samples, each with the generation that it is of."""
    placed: list[PlacedRun] = []
    by_number: dict[int, tuple[int, SelectedRun]] = {}
    generations = {each.number: each for each in snapshot.generations}
    first = 0
    for number, runs in selected:
        generation = generations[number]
        chosen = {one.run.first_shard: one for one in runs}
        none = Selection(RowBitmap(np.zeros(0, np.uint8), 0), 0, "")
        selections = []
        for at, run in enumerate(generation.runs):
            one = chosen.get(run.first_shard)
            selections.append(none if one is None else one.selection)
            if one is not None:
                by_number[first + at] = number, one
        placed += placed_runs(snapshot, generation, selections, first)
        first += len(generation.runs)
    if not placed:
        return []
    found = []
    for each in families(placed, source.name, is_one_pass=is_one_pass):
        number, one = by_number[each.run]
        found.append((number, [replace(one, selection=each.selection, placed=each)]))
    return found


def _check_one_encoding(name: str, opened: Sequence[OpenSource]) -> None:
    found = {
        one.source.name: one.snapshot.columns[name].record.fingerprint
        for one in opened
        if name in one.snapshot.columns
    }
    if found and len(found) < len(opened):
        lacking = [one.source.name for one in opened if one.source.name not in found]
        raise ConfigError(
            f"column {name} must be in all sources, got none in {', '.join(lacking)}; "
            f"encode it there"
        )
    if len(set(found.values())) > 1:
        raise ConfigError(
            f"column {name} must have one encoding in all sources, got "
            f"{', '.join(f'{digest} in {source}' for source, digest in found.items())}; "
            f"encode one of them again"
        )
