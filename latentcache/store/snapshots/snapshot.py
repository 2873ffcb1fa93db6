"""Reading through a snapshot: its columns, their units and samples, statistics, quarantine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from latentcache.core.errors import ShardCorruptError, StoreError
from latentcache.core.rejects import RejectCode
from latentcache.core.units import UnitId
from latentcache.storage import Folder
from latentcache.store.codebook import read_codebook
from latentcache.store.format.records import (
    AnnotationEntry,
    ColumnEntry,
    EncodingRecord,
    Generation,
    ObjectRef,
    RecordRef,
    SnapshotRecord,
    UnitEntry,
)
from latentcache.store.format.tensor_file import read_tensors
from latentcache.store.rows.annotations import Annotation, AnnotationFile
from latentcache.store.rows.plan_tables import find_key
from latentcache.store.snapshots.numbers import Pin, pin_of
from latentcache.store.snapshots.snapshot_tables import read_quarantine, read_statistics, read_units
from latentcache.store.units.unit_reader import (
    Array,
    SampleFields,
    UnitSample,
    iter_unit,
    public_fields,
    read_object,
    read_row,
    read_unit_meta,
)

FetchObject = Callable[[ObjectRef], Path]
"""Gives a local copy of an object, compared with its checksum."""
ReadEncoding = Callable[[str, str], EncodingRecord]


@dataclass(frozen=True)
class ColumnView:
    """One column as a snapshot serves it.

    Attributes:
        folder: The store.
        name: Of the column.
        entry: What the snapshot says of it.
        record: The encoding that serves it, with the normalization that the snapshot names.
        generations: The plan that the snapshot covers, by number.
    """

    folder: Folder
    name: str
    entry: ColumnEntry
    record: EncodingRecord
    generations: Mapping[int, Generation]

    @property
    def num_encoded(self) -> int:
        """Live rows with a sample."""
        return self.entry.num_encoded

    @property
    def num_quarantined(self) -> int:
        """Live rows that could not be planned or encoded."""
        return self.entry.num_quarantined

    @cached_property
    def num_absent(self) -> int:
        """Of the quarantined ones, the rows that have no medium of the column's role."""
        if not self.num_quarantined or "role" not in self.record.transform:
            return 0
        return self.quarantine()["code"].to_pylist().count(RejectCode.ABSENT.word)

    @property
    def num_missing(self) -> int:
        """Live rows that are neither: no unit covers them yet."""
        return self.entry.num_missing

    @property
    def num_bytes(self) -> int:
        """Bytes of all tars."""
        return self.entry.num_bytes

    @cached_property
    def _units(self) -> list[UnitEntry]:
        return read_units(self.folder, self.entry.units)

    @cached_property
    def _unit_of(self) -> dict[UnitId, UnitEntry]:
        return {entry.unit.unit: entry for entry in self._units}

    def units(self) -> list[UnitEntry]:
        """Return the column's units in (shard, part) order; read once."""
        return list(self._units)

    def unit(self, unit: UnitId) -> UnitEntry | None:
        """Return one unit, or None if the column does not have it."""
        return self._unit_of.get(unit)

    def tar_urls(self) -> list[str]:
        """Return where the tars are, for any tool that reads WebDataset."""
        return [
            f"{self.folder.label}/{entry.tar.name}"
            for entry in self._units
            if entry.tar is not None
        ]

    def quarantine(self) -> pa.Table:
        """Return one row per quarantined sample: key, path, stage, code, reason ..."""
        return read_quarantine(self.folder, self.entry.quarantine)

    def statistics(self) -> dict[str, Array]:
        """Return the merged statistics of all units."""
        return read_statistics(self.folder, self.entry.statistics)

    def codebook(self) -> Array | None:
        """Return the vectors that the column's indices name, float32 [K, D]; None if not kept.

        Raises:
            ShardCorruptError: They are not those that the encoding names.
        """
        return read_codebook(self.folder, self.record)

    def text_fields(self, name: str) -> SampleFields:
        """Return the fields of a text that was encoded once, such as ``empty``.

        Raises:
            StoreError: The column has none of that name; those that it has are shown.
            ShardCorruptError: Its bytes differ from what was recorded.
        """
        for text in self.entry.texts:
            if text.name == name:
                data = read_object(self.folder, text.fields)
                return public_fields(read_tensors(data, where=text.fields.name))
        known = ", ".join(text.name for text in self.entry.texts) or "none"
        raise StoreError(
            f"text must be one of {known}, got {name!r} (column {self.name}); encode it with "
            f"--negative, or encode the column with this version"
        )

    def iter_samples(self) -> Iterator[tuple[str, UnitId, int, SampleFields]]:
        """Yield (key, unit, row, fields) in (shard, row) order; memory holds one sample.

        Retired rows are among them: the plan says which are live.

        Raises:
            ShardCorruptError: A unit differs from its commit.
        """
        for entry in self._units:
            for sample in iter_unit(self.folder, entry, column=self.name):
                yield sample.key, entry.unit.unit, sample.row, sample.fields

    def read_sample(self, key: str) -> SampleFields:
        """Return one sample's fields; looks the key up in the plan.

        Raises:
            StoreError: No row has this key, or it has no sample (says why).
            ShardCorruptError: Its unit differs from its commit.
        """
        generations = [self.generations[number] for number in sorted(self.generations)]
        position = find_key(self.folder, generations, key)
        if position is None:
            reason = self._reject_reason(key)
            if reason is not None:
                raise _quarantined(key, reason)
            raise StoreError(
                f"key must be one of the plan's, got {key!r} ({self.folder.label}); "
                f"latentcache status --quarantined and the plan's parts list them"
            )
        sample = self.read_row(position.shard, position.row)
        if sample.key != key:
            raise ShardCorruptError(
                f"member must be that of {key}, got {sample.key} (shard {position.shard} row "
                f"{position.row}, column {self.name}); run latentcache verify --repair"
            )
        return sample.fields

    def read_row(self, shard: int, row: int) -> UnitSample:
        """Return the sample at a planned row.

        Raises:
            StoreError: It has no sample (says why).
            ShardCorruptError: Its unit differs from its commit.
        """
        unit = UnitId(shard, row // self.record.rows_per_unit)
        entry = self._unit_of.get(unit)
        if entry is None:
            raise StoreError(
                f"unit must be in the snapshot, got {unit} which is not encoded yet "
                f"(column {self.name}); run latentcache build again"
            )
        sample = read_row(self.folder, entry, row=row, column=self.name)
        if sample is None:
            reject = read_unit_meta(self.folder, entry).reject_of(row)
            raise _quarantined(f"row {row} of shard {shard}", reject.reason if reject else "")
        return sample

    def _reject_reason(self, key: str) -> str | None:
        table = self.quarantine()
        hits = np.flatnonzero(np.array(table["key"].to_pylist()) == key)
        return str(table["reason"][int(hits[0])].as_py()) if len(hits) else None


def _quarantined(what: str, reason: str) -> StoreError:
    return StoreError(
        f"sample must be encoded, got {what} in quarantine: {reason}; "
        f"latentcache status --quarantined lists all of them"
    )


@dataclass(frozen=True)
class Snapshot:
    """A version of a store, open for reading; nothing that happens later changes what it says.

    Attributes:
        folder: The store.
        record: What the snapshot's file says.
        generations: The plan it covers, oldest first.
        columns: By name.
    """

    folder: Folder
    record: SnapshotRecord
    generations: tuple[Generation, ...]
    columns: dict[str, ColumnView]

    @property
    def number(self) -> int:
        """1 for the first."""
        return self.record.number

    @property
    def digest(self) -> str:
        """SHA-256 of the record, which names everything below it."""
        return self.record.digest

    @property
    def parent(self) -> RecordRef | None:
        """The snapshot it was derived from, or None."""
        return self.record.parent

    @property
    def pin(self) -> Pin:
        """What a training run writes down to open this very snapshot again."""
        return pin_of(self.record)

    def column(self, name: str) -> ColumnView:
        """Return a column.

        Raises:
            StoreError: The snapshot has none of that name; those that it has are shown.
        """
        view = self.columns.get(name)
        if view is None:
            known = ", ".join(sorted(self.columns)) or "none"
            raise StoreError(
                f"column must be one of {known}, got {name!r} (snapshot {self.number}); "
                f"run latentcache encode to add it"
            )
        return view

    def annotation(
        self, name: str, generation: int = 0, *, fetch: FetchObject | None = None
    ) -> Annotation | None:
        """Return an annotation's values for one generation as this snapshot serves it, or None.

        Args:
            name: Of the annotation.
            generation: Whose rows it is for.
            fetch: Gives a copy on this machine of a remote file, which else is read into
                memory whole.

        Raises:
            ShardCorruptError: Its file is missing, or has another size.
        """
        for entry in self.record.annotations.get(name, ()):
            if entry.generation == generation:
                file = AnnotationFile.parse(entry.name)
                assert file is not None, f"{entry.name} was published as an annotation"
                copy = None
                if fetch is not None and not self.folder.is_local:
                    copy = fetch(
                        ObjectRef(name=entry.name, size_bytes=entry.size_bytes, sha256=entry.sha256)
                    )
                _check_size(self.folder, entry)
                return Annotation(self.folder, self.generations[generation], file, copy=copy)
        return None


def _check_size(folder: Folder, entry: AnnotationEntry) -> None:
    path = folder.local_path(entry.name)
    if path is not None and path.is_file() and path.stat().st_size != entry.size_bytes:
        raise ShardCorruptError(
            f"annotation must have {entry.size_bytes} bytes, got {path.stat().st_size} "
            f"({entry.name} in {folder.label}); restore it, or open another snapshot"
        )


def open_snapshot(
    folder: Folder,
    record: SnapshotRecord,
    plan: Sequence[Generation],
    read_encoding: ReadEncoding,
) -> Snapshot:
    """Return the snapshot that ``record`` describes.

    Args:
        folder: The store.
        record: Which commits it chose.
        plan: All generations that the store has now.
        read_encoding: Gives the record of (column, fingerprint).

    Raises:
        StoreError: A generation or encoding in the store is not the one it names.
    """
    generations = tuple(plan[: len(record.generations)])
    found = tuple(RecordRef(number=one.number, digest=one.digest) for one in generations)
    if found != record.generations:
        raise StoreError(
            f"plan must be that of snapshot {record.number}, got generations "
            f"{[ref.digest[:12] for ref in found]} where it names "
            f"{[ref.digest[:12] for ref in record.generations]} ({folder.label}); "
            f"the plan was replaced: restore it, or build a new store"
        )
    by_number = {generation.number: generation for generation in generations}
    columns = {}
    for name, entry in record.columns.items():
        if entry.num_generations > len(generations):
            raise StoreError(
                f"snapshot {record.number} must name all generations of its columns, got "
                f"{len(generations)} where {name} has rows of {entry.num_generations} "
                f"({folder.label}); delete snapshots/{record.number}.json and build again"
            )
        encoding = read_encoding(name, entry.fingerprint)
        if encoding.digest != entry.encoding_digest:
            raise StoreError(
                f"encoding of {name} must be {entry.encoding_digest[:12]}, got "
                f"{encoding.digest[:12]} (snapshot {record.number}); restore its encoding.json"
            )
        if entry.published is not None:
            encoding = replace(encoding, normalizer=entry.published.normalizer)
        columns[name] = ColumnView(folder, name, entry, encoding, by_number)
    return Snapshot(folder, record, generations, columns)
