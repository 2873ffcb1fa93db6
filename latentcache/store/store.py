"""A store: one folder, one plan, many encodings; everything else in this package hangs off it."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from latentcache.core.errors import NoStoreError, StoreError
from latentcache.core.seeds import new_write_id
from latentcache.core.units import UnitId, UnitRange
from latentcache.storage import CreateIfAbsentSupport, Folder, Options, StorageError
from latentcache.store import encoding_records
from latentcache.store.format import object_names
from latentcache.store.format.records import (
    Commit,
    EncodingRecord,
    Generation,
    SnapshotRecord,
    StoreRecord,
)
from latentcache.store.rows import annotations, plan_tables
from latentcache.store.snapshots import numbers, publish
from latentcache.store.snapshots.column_tables import ColumnChange
from latentcache.store.snapshots.numbers import Pin
from latentcache.store.units import commit_choices, commits
from latentcache.store.units.commits import CommitRef

if TYPE_CHECKING:
    import pyarrow as pa

    from latentcache.store.rows.plan_draft import GenerationDraft
    from latentcache.store.snapshots.snapshot import Snapshot

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """A handle on one store; holds no state of it, so it travels to other processes.

    Attributes:
        folder: Where the store lies.
        store_id: 16 hex digits that stay the same wherever it is moved.
    """

    folder: Folder
    store_id: str

    @classmethod
    def open(cls, url: str | Path, *, storage_options: Options | None = None) -> "Store":
        """Return the store at ``url``; see ``open_store``."""
        folder = Folder.open(url, storage_options)
        store = cls._open(folder)
        if store is None:
            raise NoStoreError(
                f"store must be a folder with a {object_names.STORE_NAME}, "
                f"got {folder.label} without one; create a store with latentcache build or plan"
            )
        return store

    @classmethod
    def create(cls, url: str | Path) -> "Store":
        """Return a new, empty store at ``url``.

        Raises:
            StoreError: There is a store already, or other files; or it cannot be written.
        """
        folder = Folder.open(url)
        if cls._open(folder) is not None:
            raise StoreError(f"store must not exist yet, got {folder.label}; open it instead")
        return cls._create(folder)

    @classmethod
    def open_or_create(cls, url: str | Path) -> "Store":
        """Return the store at ``url``, created if there is nothing.

        Raises:
            StoreError: There is something else, another format version, or no permission.
        """
        folder = Folder.open(url)
        return cls._open(folder) or cls._create(folder)

    @classmethod
    def _open(cls, folder: Folder) -> "Store | None":
        try:
            data = folder.read(object_names.STORE_NAME)
        except FileNotFoundError:
            return None
        except StorageError:
            raise
        except OSError as error:
            raise StoreError(
                f"store must be a readable folder, got {(error.strerror or str(error)).lower()!r} "
                f"({folder.label}); choose another or change its permissions"
            ) from error
        record = StoreRecord.parse(data, where=f"{folder.label}/{object_names.STORE_NAME}")
        return cls(folder, record.store_id)

    @classmethod
    def _create(cls, folder: Folder) -> "Store":
        if not folder.is_empty():
            store = cls._open(folder)  # another run may have created it a moment ago
            if store is not None:
                return store
            raise StoreError(
                f"store must be an empty or new folder, got {folder.label} with other files in "
                f"it; choose another"
            )
        if not folder.is_local:
            _warn_if_weak(folder)
        write_id = new_write_id()
        record = StoreRecord(write_id=write_id, store_id=write_id)
        folder.create_if_absent(object_names.STORE_NAME, record.to_bytes(), write_id=write_id)
        # Whoever won, the store is the one that can be read now.
        store = cls._open(folder)
        assert store is not None
        return store

    def generations(self) -> list[Generation]:
        """Return the plan's generations, oldest first; [] before the first plan.

        Raises:
            StoreError: A generation does not continue the one before it.
        """
        found: list[Generation] = []
        while True:
            name = object_names.plan_name(len(found))
            try:
                data = self.folder.read(name)
            except FileNotFoundError:
                return found
            generation = _parsed(data, name)
            expected = found[-1].digest if found else None
            if (generation.number, generation.parent) != (len(found), expected):
                raise StoreError(
                    f"generation must be {len(found)} on parent {expected}, got "
                    f"{generation.number} on {generation.parent} ({name}); the plan is damaged"
                )
            found.append(generation)

    def planned_generations(self) -> list[Generation]:
        """Return the plan's generations, oldest first, where there has to be one.

        Raises:
            StoreError: There is no plan, or a generation does not continue the one before it.
        """
        generations = self.generations()
        if not generations:
            raise StoreError(
                f"store must have a plan, got none ({self.folder.label}); "
                "run `latentcache plan CORPUS STORE` first"
            )
        return generations

    def write_generation(self, draft: "GenerationDraft") -> Generation:
        """Write the tables and annotations of a generation, then the record that makes it exist.

        Args:
            draft: Its shards continue the numbering of the store's last generation.

        Raises:
            StoreError: Another run planned this generation meanwhile, and otherwise.
        """
        from latentcache.store.rows.plan_draft import write_draft  # noqa: PLC0415  loads pyarrow

        # A first plan is held against the one that another run wrote while ours was drafted.
        is_first = bool(draft.runs) and draft.runs[0].first_shard == 0
        before = [] if is_first else self.generations()
        number = len(before)
        next_shard = sum(generation.num_shards for generation in before)
        if draft.runs and draft.runs[0].first_shard != next_shard:
            raise StoreError(
                f"generation {number} must continue at shard {next_shard}, got one that begins at "
                f"{draft.runs[0].first_shard}; the plan has grown meanwhile: run it again"
            )
        parent = before[-1].digest if before else None
        ours, is_there = write_draft(self.folder, draft, number=number, parent=parent)
        if is_there:
            return ours
        name = object_names.plan_name(number)
        theirs = Generation.parse(self.folder.read(name), where=name)
        if _content(theirs) == _content(ours):
            return theirs
        raise StoreError(
            f"generation {number} must be planned once, got plans with options "
            f"{theirs.options_digest} ({theirs.num_rows} rows, in the store) and "
            f"{ours.options_digest} ({ours.num_rows} rows, ours); run it again to go on with "
            f"the one in the store"
        )

    def read_rows(self, unit: UnitRange, columns: Sequence[str] | None = None) -> "pa.Table":
        """Return a unit's plan rows, in row order."""
        return plan_tables.read_rows(self.folder, self._generation(unit.generation), unit, columns)

    def read_rejects(self, generation: Generation) -> "pa.Table":
        """Return the rows that planning refused."""
        return plan_tables.read_rejects(self.folder, generation)

    def write_annotations(
        self, generation: Generation, name: str, tables: Iterable["pa.Table"]
    ) -> annotations.AnnotationFile:
        """Write the next revision of an annotation; see ``store.annotations``."""
        return annotations.write_annotations(self.folder, generation, name, tables)

    def annotation_names(self) -> list[str]:
        """Return the names of all annotations, sorted."""
        return sorted({file.annotation for file in annotations.list_annotations(self.folder)})

    def annotation(self, generation: Generation, name: str) -> annotations.Annotation | None:
        """Return the newest revision of an annotation for one generation, or None."""
        return annotations.open_annotation(self.folder, generation, name)

    def write_encoding(self, record: EncodingRecord) -> EncodingRecord:
        """Pin an encoding and return what is pinned: ``record``, or what was there before."""
        return encoding_records.write_encoding(self.folder, record)

    def columns(self) -> list[str]:
        """Return the names of the columns that have any encoding, sorted."""
        return list(self.folder.list_folders(object_names.ENCODINGS_FOLDER))

    def encodings(self, column: str) -> list[EncodingRecord]:
        """Return all encodings of a column, by fingerprint."""
        return encoding_records.list_encodings(self.folder, column)

    def read_encoding(self, column: str, fingerprint: str) -> EncodingRecord:
        """Return one encoding.

        Raises:
            StoreError: There is none, and those that exist are shown; or it is another one; or the
                store is gone.
        """
        with self.staying():
            return encoding_records.read_encoding(self.folder, column, fingerprint)

    @contextmanager
    def staying(self) -> Iterator[None]:
        """Tell a missing object of a store that is gone as a whole from any other.

        Raises:
            StoreError: Something was missing, and so is the store.
        """
        try:
            yield
        except (FileNotFoundError, StoreError):
            if self.folder.stat(object_names.STORE_NAME) is not None:
                raise
            raise StoreError(
                f"store must stay where it is while it is used, got {self.folder.label} without "
                f"its {object_names.STORE_NAME}; put it back, or build it again in a new folder"
            ) from None

    def units(self, record: EncodingRecord) -> list[UnitRange]:
        """Return all units of all generations for an encoding, in (shard, part) order."""
        return [
            unit
            for generation in self.generations()
            for unit in generation.units(rows_per_unit=record.rows_per_unit)
        ]

    def commits(self, record: EncodingRecord) -> dict[UnitId, CommitRef]:
        """Return the commit of each unit that would serve it, from one listing of names."""
        found = commits.list_candidates(self.folder, record.column, record.fingerprint)
        return commits.best_commits(found)

    def unservable_units(self, record: EncodingRecord) -> dict[UnitId, int]:
        """Return the units whose commits cannot serve them, with the revision to write next.

        Their objects are gone or cut short, or they were made under another plan. Reads
        every commit, so it is for when a snapshot could not be published.
        """
        found = commits.list_candidates(self.folder, record.column, record.fingerprint)
        chosen = commit_choices.choose_units(self.folder, record, self.generations(), ())
        return {
            choice.unit.unit: max(ref.rev for ref in found[choice.unit.unit]) + 1
            for choice in chosen
            if choice.entry is None and choice.unit.unit in found
        }

    def read_commit(self, ref: CommitRef) -> Commit:
        """Return the record that ``ref`` names."""
        return commits.read_commit(self.folder, ref)

    def publish(
        self,
        changes: Sequence[ColumnChange],
        *,
        allow_partial: bool = False,
        base: int | None = None,
    ) -> "Snapshot":
        """Return the snapshot that serves all ``changes``, published unless it is there.

        Args:
            changes: Columns to serve from their newest commits, at most one per column.
            allow_partial: Publish columns that have missing rows.
            base: Number of the newest snapshot when the caller began, 0 if there was none;
                None means now. A column that was given another encoding since is refused.

        Raises:
            StoreError: A column is incomplete, or changed meanwhile.
        """
        target = publish.PublishTarget(
            folder=self.folder, store_id=self.store_id, read_generations=self.generations
        )
        if base is None:
            seen = numbers.read_newest_snapshot(self.folder)
        else:
            seen = numbers.read_snapshot(self.folder, base) if base else None
        record = publish.publish_snapshot(target, changes, allow_partial=allow_partial, base=seen)
        return self._open_snapshot(record)

    def snapshots(self) -> list[int]:
        """Return the numbers of the snapshots that exist, ascending."""
        return numbers.list_snapshots(self.folder)

    def snapshot(self, number: int | None = None) -> "Snapshot":
        """Return snapshot ``number``, or the newest.

        Raises:
            StoreError: There is none.
        """
        if number is not None:
            return self._open_snapshot(numbers.read_snapshot(self.folder, number))
        record = numbers.read_newest_snapshot(self.folder)
        if record is None:
            raise StoreError(
                f"store must have a snapshot, got none yet ({self.folder.label}); run "
                f"latentcache build, or publish what there is with --partial"
            )
        return self._open_snapshot(record)

    def pinned_snapshot(self, pin: Pin) -> "Snapshot":
        """Return the snapshot that ``pin`` means.

        Raises:
            StoreError: The store is another one, or its snapshot differs; both are shown.
        """
        return self._open_snapshot(numbers.read_pinned_snapshot(self.folder, pin))

    def _open_snapshot(self, record: SnapshotRecord) -> "Snapshot":
        from latentcache.store.snapshots.snapshot import open_snapshot  # noqa: PLC0415  loads pyarrow

        return open_snapshot(self.folder, record, self.generations(), self.read_encoding)

    def _generation(self, number: int) -> Generation:
        name = object_names.plan_name(number)
        return _parsed(self.folder.read(name), name)


# Every unit asks for its generation, and one of whole clips has as many runs as lengths.
@lru_cache(maxsize=8)
def _parsed(data: bytes, name: str) -> Generation:
    return Generation.parse(data, where=name)


def _content(generation: Generation) -> tuple[object, ...]:
    """Return what makes two plans the same: all but names and write ids."""
    parts = tuple((part.sha256, part.num_rows) for part in generation.parts)
    tables = tuple(
        table.sha256 if table else None for table in (generation.rejects, generation.retired)
    )
    return (generation.options_digest, generation.seed, generation.runs, parts, tables)


def _warn_if_weak(folder: Folder) -> None:
    support = folder.probe_create_if_absent()
    if support is not CreateIfAbsentSupport.EXCLUSIVE:
        logger.warning(
            "%s %s: publish from one run at a time; a lost snapshot is made again from the "
            "commits, nothing else is at stake",
            folder.label,
            support.value,
        )


def open_store(url: str | Path, *, storage_options: Options | None = None) -> Store:
    """Return the store at ``url``, a local path or any fsspec URL.

    Args:
        url: Of the store.
        storage_options: Of fsspec's file system, on top of the process's; they are shown nowhere.

    Raises:
        ConfigError: The file system has no such option.
        StoreError: There is no store, or one of another format version.
    """
    return Store.open(url, storage_options=storage_options)
