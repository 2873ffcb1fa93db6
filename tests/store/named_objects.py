"""What objects of a store in memory name, worked out from the format by no code of gc."""

import io
from collections.abc import Iterator
from functools import lru_cache

import pyarrow.parquet as pq

from latentcache.store.format.object_names import (
    parse_snapshot_name,
    parse_tombstone_name,
    parse_unit_object,
)
from latentcache.store.format.records import Commit, Generation, ObjectRef, SnapshotRecord
from tests.store.faulty_store import Memory


@lru_cache(maxsize=4096)
def _snapshot(data: bytes, name: str) -> SnapshotRecord:
    return SnapshotRecord.parse(data, where=name)


@lru_cache(maxsize=4096)
def _units(data: bytes) -> tuple[tuple[str, ObjectRef | None, ObjectRef], ...]:
    rows = pq.read_table(io.BytesIO(data)).to_pylist()
    return tuple(
        (
            f"{row['unit']}.{row['rev']}.{row['write_id']}",
            _ref(row, "tar") if row["tar_name"] else None,
            _ref(row, "meta"),
        )
        for row in rows
    )


def _ref(row: dict, kind: str) -> ObjectRef:
    return ObjectRef(
        name=row[f"{kind}_name"],
        size_bytes=row[f"{kind}_size_bytes"],
        sha256=row[f"{kind}_sha256"],
    )


def snapshot_records(memory: Memory) -> dict[str, SnapshotRecord]:
    """Return the snapshots and the retired ones, by the names of their records."""
    return {
        name: _snapshot(stored.data, name)
        for name, stored in memory.objects.items()
        if parse_snapshot_name(name) is not None or parse_tombstone_name(name) is not None
    }


def names_of_snapshot(memory: Memory, record: SnapshotRecord) -> Iterator[ObjectRef]:
    """Yield every object that is needed to read a snapshot."""
    for entries in record.annotations.values():
        yield from (_plain(entry) for entry in entries)
    for entry in record.columns.values():
        yield from (_plain(table) for table in (entry.units, entry.quarantine, entry.statistics))
        yield from (_plain(text.fields) for text in entry.texts)
        units = memory.objects.get(entry.units.name)
        for _, tar, meta in _units(units.data) if units else ():
            yield meta
            if tar is not None:
                yield tar


def _plain(ref) -> ObjectRef:
    return ObjectRef(name=ref.name, size_bytes=ref.size_bytes, sha256=ref.sha256)


def left_over(memory: Memory) -> list[str]:
    """Return the names that nothing names and nobody could publish, in a store at rest."""
    needed = {"latentcache.json"}
    served: dict[str, int] = {}
    for name, record in snapshot_records(memory).items():
        needed.add(name)
        needed.update(ref.name for ref in names_of_snapshot(memory, record))
        for column, entry in record.columns.items():
            folder = f"encodings/{column}/{entry.fingerprint}"
            for stem, *_ in _units(memory.objects[entry.units.name].data):
                needed.add(f"{folder}/commits/{stem}.json")
                unit, rev, _ = stem.split(".")
                served[f"{folder}/{unit}"] = max(int(rev), served.get(f"{folder}/{unit}", -1))
    for name, stored in memory.objects.items():
        needed.update(_kept_by(memory, name, stored.data, served))
    return sorted(name for name in memory.objects if name not in needed)


def _kept_by(memory: Memory, name: str, data: bytes, served: dict[str, int]) -> Iterator[str]:
    if name.startswith("plan/") and name.count("/") == 1:
        yield name
        generation = Generation.parse(data, where=name)
        tables = (generation.rejects, generation.retired, generation.beside)
        yield from (part.name for part in generation.parts)
        yield from (table.name for table in tables if table)
    if name.endswith("/encoding.json"):
        yield name
    written = parse_unit_object(name)
    if written is not None and "/commits/" in name:
        folder = name.partition("/commits/")[0]
        if written.rev > served.get(f"{folder}/{written.unit}", -1):
            commit = Commit.parse(data, where=name)
            yield from (name, commit.meta.name, *([commit.tar.name] if commit.tar else []))
