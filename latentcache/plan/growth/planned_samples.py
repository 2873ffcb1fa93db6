"""The live samples of a plan, by source: what a listing is held against, 60 bytes a sample.

Where a sample has several rows each of them stands here for itself; what is told is counted by
sample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from latentcache.core.media import SourceRef
from latentcache.plan.corpus.beside import CAPTION
from latentcache.plan.listing import ListedMedia
from latentcache.storage import Folder
from latentcache.store import Generation
from latentcache.store.format import indices, numbers
from latentcache.store.rows import (
    iter_beside,
    iter_rows,
    read_rejects,
    read_retired,
    retired_shard,
)

TAKEN_DOWN = "taken down"
"""Reason of rows that somebody retired by name: a file that is still there stays out."""

TOUCHED = "touched"
"""Kind, in the table of files beside a plan, of a medium whose bytes proved to be the planned ones
though its time or its ETag differs."""

Indices = npt.NDArray[np.int64]
_COLUMNS = ("key", "path", "member", "offset_bytes", "size_bytes", "version")
_UNKNOWN = 0
"""A version that nobody recorded."""


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """Where one live sample stands.

    Attributes:
        generation: That planned it.
        shard: -1 for one that planning refused.
        row: Of the shard, or among the generation's rejects.
        path: Of its source.
        member: Of its source.
        key: 20 hex digits.
        is_taken_down: Whether somebody retired it by name.
        sample: What tells its sample from others, in this process; -1 where nobody asked.
    """

    generation: int
    shard: int
    row: int
    path: str
    member: str
    key: str
    is_taken_down: bool = False
    sample: int = -1

    @property
    def label(self) -> str:
        """The source as users see it: ``path`` or ``path!member``."""
        return f"{self.path}!{self.member}" if self.member else self.path

    @property
    def retired_shard(self) -> int:
        """The shard that a table of retired rows names it by: rejects count down from -1."""
        return self.shard if self.shard >= 0 else retired_shard(self.generation)


class PlannedSamples:
    """What a plan knows of its live samples: source, size, version, place.

    Hashes are of this process, 64 bits: that two of a hundred million sources meet has a chance
    of 3 in 10,000. Indices are into the samples, ordered by source.

    Attributes:
        is_taken_down: Whether somebody retired it by name; it never comes back.
        seen: Whether the listing has the sample, as the bytes that were planned.
        changed: Whether it has its source with other bytes.
        recovered: Whether a file that planning refused can be read by now.
    """

    def __init__(self, store: Folder, generations: Sequence[Generation]) -> None:
        """Read the plan."""
        self._store, self._generations = store, generations
        has_several = any(each.num_placements > 1 for each in generations)
        columns = (*_COLUMNS, "start_s") if has_several else _COLUMNS
        pieces = [np.zeros((0, 9 if has_several else 8), np.int64)]
        for generation in generations:
            tables = _tables(store, generation, columns)
            pieces += [_facts_of(table, generation.number, columns) for table in tables]
        facts = np.concatenate(pieces)
        pairs = _as_retired(generations, facts)
        facts = facts[~np.isin(pairs, _retired_pairs(store, generations, but=TAKEN_DOWN))]
        facts = facts[np.argsort(facts[:, 0], kind="stable")]
        self._sources: Indices = np.ascontiguousarray(facts[:, 0])
        self._keys: Indices = facts[:, 1]
        self._places, self._versions = facts[:, 2], facts[:, 3]
        self.generation, self.shard, self.row = facts[:, 4], facts[:, 5], facts[:, 6]
        self.is_transient = facts[:, 7] > 0
        self._samples: Indices = facts[:, 8] if has_several else np.arange(len(facts))
        self._by_key = np.argsort(self._keys, kind="stable")
        self._sorted_keys = self._keys[self._by_key]
        self._later = _later_versions(store, generations)
        taken_down = _retired_pairs(store, generations, only=TAKEN_DOWN)
        self.is_taken_down = np.isin(_as_retired(generations, facts), taken_down)
        self._has_taken_down = bool(self.is_taken_down.any())
        self.seen = self.is_taken_down.copy()
        self.changed = np.zeros(len(facts), bool)
        self.recovered = np.zeros(len(facts), bool)

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def are_placed(self) -> npt.NDArray[np.bool_]:
        """Which are live and have a place."""
        found: npt.NDArray[np.bool_] = (self.shard >= 0) & ~self.is_taken_down
        return found

    def count(self, which: npt.NDArray[Any]) -> int:
        """Return how many samples some rows are of, given by index or one entry per row."""
        return len(np.unique(self._samples[which]))

    def of_sources(self, sources: Sequence[SourceRef]) -> list[Indices]:
        """Return the samples of each source; none for an unknown one."""
        hashes = np.array([hash((one.path, one.member)) for one in sources], np.int64)
        starts = np.searchsorted(self._sources, hashes)
        stops = np.searchsorted(self._sources, hashes, side="right")
        pairs = zip(starts.tolist(), stops.tolist(), strict=True)
        return [np.arange(start, stop) for start, stop in pairs]

    def are_taken_down(self, samples: Indices) -> bool:
        """Whether all of some samples are."""
        return self._has_taken_down and bool(self.is_taken_down[samples].all())

    def are_refused(self, samples: Indices) -> bool:
        """Whether none of some samples has a place."""
        if len(samples) == 1:  # a million times
            return bool(self.shard[samples[0]] < 0)
        return bool((self.shard[samples] < 0).all())

    def of_key(self, key: str) -> int:
        """Return the sample of a key, -1 if none has it."""
        wanted = _key_number(key)
        at = int(np.searchsorted(self._sorted_keys, wanted))
        if at == len(self._keys):
            return -1
        found = int(self._by_key[at])
        return found if self._keys[found] == wanted else -1

    def lies_as_planned(self, source: SourceRef, samples: Indices) -> bool:
        """Whether its size, and its place in a tar, are those of its samples."""
        placed = _place(source.size_bytes, source.offset_bytes)
        if len(samples) == 1 and self.shard[samples[0]] >= 0:  # a million times
            return bool(self._places[samples[0]] == placed)
        # Of what was refused in a tar the plan has no place.
        refused = _place(source.size_bytes, -1)
        expected = np.where(self.shard[samples] < 0, refused, placed)
        return bool((self._places[samples] == expected).all())

    def is_as_planned(self, media: ListedMedia, samples: Indices) -> bool:
        """Whether size, place and version of a listed file are those of its samples."""
        source = media.source
        if not self.lies_as_planned(source, samples):
            return False
        version = _version_number(media.version)
        if len(samples) == 1 and self._versions[samples[0]] == version:
            return True
        versions = self._versions[samples]
        if version == _UNKNOWN or not versions.all():
            return True
        if (versions == version).all():
            return True
        since = self._later.get((hash(source.path), version), -1)
        return bool((self.generation[samples] < since).all())

    def rows(self, which: npt.NDArray[np.bool_]) -> Iterator[PlannedRow]:
        """Yield some samples in plan order; reads the plan's tables again.

        Args:
            which: One entry per sample.
        """
        for generation in self._generations:
            mine = which & (self.generation == generation.number)
            if not mine.any():
                continue
            wanted = _pairs(self.shard[mine], self.row[mine])
            samples = self._samples[mine][np.argsort(wanted)]
            wanted = np.sort(wanted)
            for table in _tables(self._store, generation):
                shards, rows = _positions(table)
                pairs = _pairs(shards, rows)
                taken = np.flatnonzero(np.isin(pairs, wanted))
                of_taken = samples[np.searchsorted(wanted, pairs[taken])].tolist()
                names: list[dict[str, Any]] = (
                    table.select(["path", "member", "key"]).take(indices(taken)).to_pylist()
                )
                for at, sample, named in zip(taken.tolist(), of_taken, names, strict=True):
                    place = (generation.number, int(shards[at]), int(rows[at]))
                    yield PlannedRow(*place, **named, sample=sample)


def iter_expected(
    store: Folder, generations: Sequence[Generation], columns: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield some columns of the samples that a corpus should have.

    Those are the live ones, those that planning refused, and those taken down.
    """
    retired = _retired_pairs(store, generations, but=TAKEN_DOWN)
    for generation in generations:
        for table in _tables(store, generation):
            shards, rows = _positions(table)
            shards = np.where(shards < 0, retired_shard(generation.number), shards)
            is_live = ~np.isin(_pairs(shards, rows), retired)
            yield table.select(list(columns)).filter(pa.array(is_live))


def iter_planned(store: Folder, generations: Sequence[Generation]) -> Iterator[PlannedRow]:
    """Yield the live samples, those that planning refused, and those taken down."""
    retired = _retired_pairs(store, generations, but=TAKEN_DOWN)
    taken_down = _retired_pairs(store, generations, only=TAKEN_DOWN)
    for generation in generations:
        for table in _tables(store, generation):
            shards, rows = _positions(table)
            pairs = _pairs(np.where(shards < 0, retired_shard(generation.number), shards), rows)
            are_out = np.isin(pairs, taken_down).tolist()
            named: list[dict[str, Any]] = table.select(["path", "member", "key"]).to_pylist()
            for at in np.flatnonzero(~np.isin(pairs, retired)).tolist():
                place = (generation.number, int(shards[at]), int(rows[at]))
                yield PlannedRow(*place, **named[at], is_taken_down=are_out[at])


def _tables(
    store: Folder, generation: Generation, columns: Sequence[str] = _COLUMNS
) -> Iterator[pa.Table]:
    """Yield the rows, then the rejects with shard -1 and their position as row."""
    yield from iter_rows(store, generation, [*columns, "shard", "row"])
    if generation.rejects is not None:
        rejects = read_rejects(store, generation)
        count = len(rejects)
        places = {"shard": np.full(count, -1, np.int32), "row": np.arange(count, dtype=np.int32)}
        offsets = np.full(count, -1, np.int64)
        known = {name: rejects[name] for name in (*_COLUMNS, "is_transient") if name in
                 rejects.schema.names}  # fmt: skip
        yield pa.table({**known, **places, "offset_bytes": offsets})


def _facts_of(table: pa.Table, generation: int, columns: Sequence[str]) -> Indices:
    """Return per row source, key, place, version, generation, shard, row, is transient.

    Where samples have several rows, also what tells samples apart.
    """
    shards, rows = _positions(table)
    values: dict[str, list[Any]] = {name: table[name].to_pylist() for name in _COLUMNS}
    is_transient: list[Any] = (
        table["is_transient"].to_pylist()
        if "is_transient" in table.schema.names
        else [False] * len(table)
    )
    facts = np.empty((len(table), 9 if "start_s" in columns else 8), np.int64)
    facts[:, 0] = [hash(pair) for pair in zip(values["path"], values["member"], strict=True)]
    facts[:, 1] = [_key_number(key) for key in values["key"]]
    sizes = zip(values["size_bytes"], values["offset_bytes"], strict=True)
    facts[:, 2] = [_place(*pair) for pair in sizes]
    facts[:, 3] = [_version_number(version) for version in values["version"]]
    facts[:, 4], facts[:, 5], facts[:, 6], facts[:, 7] = generation, shards, rows, is_transient
    if "start_s" in table.schema.names:
        of_sample = (values["path"], values["member"], table["start_s"].to_pylist())
        facts[:, 8] = [hash(each) for each in zip(*of_sample, strict=True)]
    elif "start_s" in columns:  # what planning refused is one each
        facts[:, 8] = [hash((generation, row)) for row in rows.tolist()]
    return facts


def _positions(table: pa.Table) -> tuple[Indices, Indices]:
    shards, rows = (numbers(table[name]).astype(np.int64) for name in ("shard", "row"))
    return shards, rows


def _pairs(shards: Indices, rows: Indices) -> Indices:
    return (shards << 32) + rows


def _as_retired(generations: Sequence[Generation], facts: Indices) -> Indices:
    """Return each sample as a table of retired rows would name it."""
    shards = facts[:, 5].copy()
    for generation in generations:
        refused = (facts[:, 4] == generation.number) & (facts[:, 5] < 0)
        shards[refused] = retired_shard(generation.number)
    return _pairs(shards, facts[:, 6])


def _retired_pairs(
    store: Folder, generations: Sequence[Generation], *, only: str = "", but: str = ""
) -> Indices:
    """Return the retired rows: all, those for one reason, or all but those."""
    pieces = [np.zeros(0, np.int64)]
    for generation in generations:
        if generation.retired is not None:
            table = read_retired(store, generation)
            if only:
                table = table.filter(pc.equal(table["reason"], pa.scalar(only)))
            if but:
                table = table.filter(pc.not_equal(table["reason"], pa.scalar(but)))
            pieces.append(_pairs(*_positions(table)))
    return np.concatenate(pieces)


def _later_versions(store: Folder, generations: Sequence[Generation]) -> dict[tuple[int, int], int]:
    """Return the generations that found a file, by path and version, to hold what was planned."""
    later: dict[tuple[int, int], int] = {}
    for generation in generations:
        for table in iter_beside(store, generation):
            names = ("path", "kind", "version")
            for path, kind, version in zip(*(table[n].to_pylist() for n in names), strict=True):
                if kind != CAPTION:
                    later[hash(path), _version_number(version)] = generation.number
    return later


def _key_number(key: str) -> int:
    return int(key[:16], 16) - 2**63


def _place(size_bytes: int, offset_bytes: int) -> int:
    return hash((size_bytes, offset_bytes))


def _version_number(version: str) -> int:
    return (hash(version) or 1) if version else _UNKNOWN
