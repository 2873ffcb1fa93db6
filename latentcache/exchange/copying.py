"""A whole store copied to another place: what its snapshots name, checked, and nothing else.

What names others is written last, so that the copy is no store before it can be read. Names hold
random digits and objects never change: what is there already in its size is not sent again.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from latentcache.core.errors import ShardCorruptError, StoreError
from latentcache.core.fingerprint import sha256_hex
from latentcache.core.seeds import new_write_id
from latentcache.storage import TEMPORARY_PREFIX, Folder, map_ahead
from latentcache.store import Generation, Snapshot, Store, codebook_ref
from latentcache.store.format import (
    STORE_NAME,
    ObjectRef,
    PlanPart,
    TableRef,
    check_landed,
    encoding_folder,
    plan_name,
    snapshot_name,
)
from latentcache.store.units import CommitRef

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """What a copy holds.

    Attributes:
        snapshots: Their numbers.
        num_objects: Sent by this run.
        num_bytes: Of these.
        num_there: Objects that were there already.
    """

    snapshots: tuple[int, ...]
    num_objects: int
    num_bytes: int
    num_there: int


@dataclass(frozen=True, slots=True)
class _Record:
    """A small object that another names: copied as it is, created only if it is absent."""

    name: str
    write_id: str
    data: bytes


def copy_store(
    store: Store, dest_url: str | Path, *, snapshot: int | None = None, on_progress: Progress
) -> CopyResult:
    """Copy a store to ``dest_url``, where it keeps its id; what was sent before is not sent again.

    Every object is compared with its checksum on the way, and read back where it lands.

    Args:
        store: To be copied; what is published meanwhile is not.
        dest_url: An empty place, or an earlier copy of the same store.
        snapshot: Copy that one alone; None copies all.
        on_progress: Told of bytes.

    Raises:
        StoreError: There is another store, or the copy has gone its own way since.
        ShardCorruptError: An object of the store differs from what was recorded.
    """
    numbers = store.snapshots() if snapshot is None else [snapshot]
    chosen = [store.snapshot(number) for number in numbers]
    if not chosen:
        store.snapshot()  # says that there is none
    generations = store.generations()
    dest = Folder.open(dest_url)
    _claim(store, dest)
    objects = {ref.name: ref for ref in _objects(chosen, generations)}
    there = {info.name: info.size_bytes for info in dest.list()}
    lacking = [ref for ref in objects.values() if there.get(ref.name) != ref.size_bytes]
    total, done = sum(ref.size_bytes for ref in lacking), 0
    on_progress(0, total)
    with _scratch(dest) as scratch:
        send = partial(_send, store.folder, dest, scratch)
        for ref, _ in zip(lacking, map_ahead(send, lacking), strict=True):
            done += ref.size_bytes
            on_progress(done, total)
    commits = [name for name in _commit_names(chosen) if name not in there]
    for _ in map_ahead(lambda name: dest.write(name, store.folder.read(name)), commits):
        pass
    for record in _records(store, chosen, generations):
        _create(dest, record)
    return CopyResult(
        snapshots=tuple(numbers),
        num_objects=len(lacking),
        num_bytes=total,
        num_there=len(objects) - len(lacking),
    )


def _claim(store: Store, dest: Folder) -> None:
    """Make ``dest`` a place of this store, or find that it is one."""
    data = store.folder.read(STORE_NAME)
    if dest.stat(STORE_NAME) is None and not dest.is_empty():
        raise StoreError(
            f"destination must be empty or an earlier copy, got {dest.label} with other files in "
            "it; choose another"
        )
    if not dest.create_if_absent(STORE_NAME, data, write_id=store.store_id):
        there = Store.open(dest.url)
        if there.store_id != store.store_id:
            raise StoreError(
                f"destination must be empty or a copy of store {store.store_id}, got store "
                f"{there.store_id} ({dest.label}); choose another"
            )


def _objects(
    snapshots: Iterable[Snapshot], generations: Iterable[Generation]
) -> Iterator[ObjectRef]:
    for generation in generations:
        tables = (generation.rejects, generation.retired, generation.beside)
        refs: list[PlanPart | TableRef] = [*generation.parts, *(each for each in tables if each)]
        for ref in refs:
            yield ObjectRef(name=ref.name, size_bytes=ref.size_bytes, sha256=ref.sha256)
    for snapshot in snapshots:
        for entries in snapshot.record.annotations.values():
            for entry in entries:
                yield ObjectRef(name=entry.name, size_bytes=entry.size_bytes, sha256=entry.sha256)
        for view in snapshot.columns.values():
            entry_of = view.entry
            for table in (entry_of.units, entry_of.quarantine, entry_of.statistics):
                yield ObjectRef(name=table.name, size_bytes=table.size_bytes, sha256=table.sha256)
            yield from (text.fields for text in entry_of.texts)
            if (codebook := codebook_ref(view.folder, view.record)) is not None:
                yield codebook
            for unit in view.units():
                yield unit.meta
                if unit.tar is not None:
                    yield unit.tar


def _commit_names(snapshots: Iterable[Snapshot]) -> list[str]:
    """Return the commits that snapshots have chosen; what they name is sent before them."""
    return sorted(
        {
            CommitRef.of_entry(view.name, view.record.fingerprint, unit).name
            for snapshot in snapshots
            for view in snapshot.columns.values()
            for unit in view.units()
        }
    )


def _records(
    store: Store, snapshots: Iterable[Snapshot], generations: Iterable[Generation]
) -> Iterator[_Record]:
    """Yield encodings, generations and snapshots, each after what it names."""
    folder = store.folder
    encodings = {
        f"{encoding_folder(view.name, view.record.fingerprint)}/encoding.json": view.record.write_id
        for snapshot in snapshots
        for view in snapshot.columns.values()
    }
    for name, write_id in encodings.items():
        yield _Record(name, write_id, folder.read(name))
    for generation in generations:
        name = plan_name(generation.number)
        yield _Record(name, generation.write_id, folder.read(name))
    for snapshot in snapshots:
        name = snapshot_name(snapshot.number)
        data = folder.read(name)
        if sha256_hex(data) != snapshot.digest:
            raise ShardCorruptError(
                f"snapshot {snapshot.number} must stay as it was, got other bytes "
                f"({name} in {folder.label}); restore it"
            )
        yield _Record(name, snapshot.record.write_id, data)


def _create(dest: Folder, record: _Record) -> None:
    if not dest.create_if_absent(record.name, record.data, write_id=record.write_id):
        raise StoreError(
            f"destination must be an earlier copy, got another {record.name} in {dest.label}: it "
            "has gone its own way since; copy to another place"
        )


@contextmanager
def _scratch(dest: Folder) -> Iterator[Path]:
    """Yield a folder on the destination's own disk, where landing a file costs a link."""
    local = dest.local_path()
    if local is not None:
        yield local
        return
    with tempfile.TemporaryDirectory(prefix="latentcache-copy-") as folder:
        yield Path(folder)


def _send(source: Folder, dest: Folder, scratch: Path, ref: ObjectRef) -> None:
    path = scratch / f"{TEMPORARY_PREFIX}copy.{new_write_id()}"
    try:
        digest, size_bytes = hashlib.sha256(), 0
        with source.open_read(ref.name) as theirs, path.open("xb") as ours:
            while chunk := theirs.read(_CHUNK_BYTES):
                digest.update(chunk)
                ours.write(chunk)
                size_bytes += len(chunk)
        if (size_bytes, digest.hexdigest()) != (ref.size_bytes, ref.sha256):
            raise ShardCorruptError(
                f"object must have {ref.size_bytes} bytes and SHA-256 {ref.sha256[:16]}, got "
                f"{size_bytes} bytes and {digest.hexdigest()[:16]} ({ref.name} in {source.label}); "
                f"run latentcache verify --repair there first"
            )
        dest.upload(ref.name, path)
        check_landed(dest, ref, sent=path)
    except FileNotFoundError:
        raise ShardCorruptError(
            f"object must be in the store, got none ({ref.name} in {source.label}); "
            "run latentcache verify --repair there first"
        ) from None
    finally:
        path.unlink(missing_ok=True)
