"""Garbage: what no kept snapshot and no newest commit names, once it is old enough.

Only ``free_encoding`` deletes too, what it is told by name. Four rules keep every reader and
writer safe:

- Only objects older than the grace, by the store's own clock, are touched: a writer's
  objects are young until its commit names them.
- What may go is listed before what is needed, so an object that became needed since is
  too young to be on the first list.
- An encoding's record is written once and found again by every later run, so its age says nothing:
  it goes by name alone.
- A retired snapshot leaves a tombstone; what it named stays until the tombstone is a grace
  old, so whoever has it open has that long to finish.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from latentcache.core.errors import StoreError
from latentcache.core.units import UnitId, UnitRange
from latentcache.storage import Folder, ObjectInfo, map_ahead
from latentcache.store.format import object_names as layout
from latentcache.store.format.object_names import UnitObject
from latentcache.store.format.records import SnapshotRecord, UnitEntry
from latentcache.store.rows.annotations import AnnotationFile, list_annotations, open_file
from latentcache.store.snapshots.numbers import (
    list_snapshots,
    read_numbered,
    read_snapshot,
)
from latentcache.store.snapshots.snapshot_tables import read_units
from latentcache.store.store import Store
from latentcache.store.units.commit_choices import first_valid
from latentcache.store.units.commits import CommitRef, newer_than, rank_commits

GRACE_S = 24 * 3600.0
"""Twice what a writer may take between uploading and committing; see ``UnitWriter``."""

_DELETE_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class GcReport:
    """What was deleted, or in a dry run would be.

    Attributes:
        is_dry_run: Nothing was touched.
        retired: Snapshots retired by this call.
        deleted: Objects, in the order of deletion.
        waiting: Objects that nothing names but that are younger than the grace.
        num_kept: Objects that stay because they are named.
    """

    is_dry_run: bool
    retired: tuple[int, ...]
    deleted: tuple[ObjectInfo, ...]
    waiting: tuple[ObjectInfo, ...]
    num_kept: int

    @property
    def waiting_s(self) -> tuple[float, float] | None:
        """When the oldest and the youngest of ``waiting`` were written; None of none."""
        times = [info.modified_s for info in self.waiting]
        return (min(times), max(times)) if times else None

    @property
    def num_bytes(self) -> int:
        """Bytes of ``deleted``."""
        return sum(max(0, info.size_bytes) for info in self.deleted)

    def by_kind(self) -> dict[str, int]:
        """Return how many objects of each kind are in ``deleted``."""
        return dict(Counter(_kind(info.name) for info in self.deleted))


def collect_garbage(
    store: Store,
    *,
    retire: Sequence[int] = (),
    drop: Sequence[tuple[str, str]] = (),
    grace_s: float = GRACE_S,
    dry_run: bool = True,
    now_s: float | None = None,
) -> GcReport:
    """Delete what nothing names any more and return what that was.

    Args:
        store: The store.
        retire: Numbers of snapshots that shall be served no more.
        drop: (column, fingerprint) of encodings whose unpublished commits shall go.
        grace_s: Age below which nothing is touched.
        dry_run: Only report.
        now_s: For tests; by default the store's own clock.

    Raises:
        StoreError: A snapshot to retire is the newest or does not exist; a snapshot that stays
            serves an encoding to drop.
    """
    deadline_s = (store.folder.now_s() if now_s is None else now_s) - grace_s
    listed = list(store.folder.list(with_temporary=True))
    tombstones = _tombstones(listed)
    retired = _checked_retire(store, retire, tombstones)
    kept = [read_snapshot(store.folder, number) for number in list_snapshots(store.folder)]
    _check_drop(store, drop, [record for record in kept if record.number not in retired])
    # What the tombstones of this very run name stays too: they are not a grace old.
    kept += [
        read_numbered(store.folder, info.name, number)
        for number, info in tombstones.items()
        if info.modified_s > deadline_s
    ]
    dropped = {layout.encoding_folder(*names) for names in drop}
    given_up = {*retired, *tombstones}
    _check_whole(store.folder, [each for each in kept if each.number not in given_up])
    needed = _read_needed(store, kept, dropped, {info.name: info.size_bytes for info in listed})
    needed.superseded.update(_superseded_annotations(store, kept, needed.names))
    free = [info for info in listed if not needed.holds(info)]
    garbage = [info for info in free if info.modified_s <= deadline_s]
    garbage.sort(key=lambda info: (deletion_rank(info.name), info.name))
    if not dry_run:
        for number in retired:
            retire_snapshot(store.folder, number)
        for start in range(0, len(garbage), _DELETE_BATCH):
            store.folder.delete([info.name for info in garbage[start : start + _DELETE_BATCH]])
    return GcReport(
        is_dry_run=dry_run,
        retired=tuple(retired),
        deleted=tuple(garbage),
        waiting=tuple(info for info in free if info.modified_s > deadline_s),
        num_kept=len(listed) - len(free),
    )


def _check_whole(folder: Folder, serving: Sequence[SnapshotRecord]) -> None:
    for record in serving:
        for entry in record.columns.values():
            if folder.stat(entry.units.name) is None:
                raise StoreError(
                    f"snapshot must have its tables, got {record.number} without "
                    f"{entry.units.name} ({folder.label}); restore it, or give the snapshot up "
                    f"with --retire {record.number}, once a newer one serves"
                )


def _tombstones(listed: Sequence[ObjectInfo]) -> dict[int, ObjectInfo]:
    found = {}
    for info in listed:
        number = layout.parse_tombstone_name(info.name)
        if number is not None:
            found[number] = info
    return found


def _checked_retire(
    store: Store, numbers: Sequence[int], tombstones: Mapping[int, ObjectInfo]
) -> list[int]:
    existing = list_snapshots(store.folder)
    for number in numbers:
        if existing and number == existing[-1]:
            raise StoreError(
                f"snapshot to retire must not be the newest, got {number} "
                f"({store.folder.label}); publish another first"
            )
        if number not in existing and number not in tombstones:
            raise StoreError(
                f"snapshot to retire must be one of {existing}, got {number} "
                f"({store.folder.label}); retire another"
            )
    return sorted(set(numbers) & set(existing))


def _check_drop(
    store: Store, drop: Sequence[tuple[str, str]], staying: Sequence[SnapshotRecord]
) -> None:
    for column, fingerprint in drop:
        entries = {record.number: record.columns.get(column) for record in staying}
        serving = [n for n, entry in entries.items() if entry and entry.fingerprint == fingerprint]
        if serving:
            raise StoreError(
                f"encoding to drop must not be served, got {fingerprint[:12]} which snapshot "
                f"{', '.join(map(str, serving))} serves as column {column} "
                f"({store.folder.label}); serve another encoding first, and retire what serves "
                "this one (--free does)"
            )


def retire_snapshot(folder: Folder, number: int) -> None:
    """Turn a snapshot into a tombstone: a copy under a name that no reader looks for."""
    name = layout.snapshot_name(number)
    folder.write(layout.tombstone_name(number), folder.read(name))
    folder.delete([name])


@dataclass
class _Needed:
    """What must stay: objects by name, and units of encodings by their writes."""

    names: set[str] = field(default_factory=set)
    writes: dict[str, set[UnitObject]] = field(default_factory=dict)
    superseded: set[str] = field(default_factory=set)

    def holds(self, info: ObjectInfo) -> bool:
        """Return whether ``info`` must stay whatever its age."""
        if info.is_temporary or info.name in self.superseded:
            return False
        if info.name in self.names or not layout.is_collectable(info.name):
            return True
        written = layout.parse_unit_object(info.name)
        return written is not None and written in self.writes.get(_encoding_of(info.name), set())


def _read_needed(
    store: Store,
    kept: Sequence[SnapshotRecord],
    dropped: set[str],
    sizes: Mapping[str, int],
) -> _Needed:
    needed = _Needed()
    served: dict[str, dict[UnitId, int]] = {}
    for snapshot in kept:
        _need_snapshot(store.folder, snapshot, needed, served)
    commits: dict[str, list[str]] = {}
    pinned: set[str] = set()
    for info in store.folder.list(layout.ENCODINGS_FOLDER):
        encoding = _encoding_of(info.name)
        if encoding in dropped:
            continue
        if info.name == f"{encoding}/encoding.json":
            pinned.add(encoding)
        elif info.name.startswith(f"{encoding}/commits/"):
            commits.setdefault(encoding, []).append(info.name)
    # Also of a try that never finished a unit: whoever takes it up finds its pin, however old, and
    # may publish before this call deletes.
    for encoding in pinned:
        needed.names.update((f"{encoding}/encoding.json", f"{encoding}/codebook.safetensors"))
    for encoding, names in commits.items():
        newer = _newer(rank_commits(names), served.get(encoding, {}))
        needed.writes.setdefault(encoding, set()).update(
            UnitObject(ref.unit, ref.rev, ref.write_id)
            for ref in _choosable(store, encoding, newer, sizes)
        )
    for generation in store.generations():
        tables = (generation.rejects, generation.retired, generation.beside)
        needed.names.update(part.name for part in generation.parts)
        needed.names.update(table.name for table in tables if table)
    return needed


def _newer(
    commits: Mapping[UnitId, Sequence[CommitRef]], served: Mapping[UnitId, int]
) -> list[list[CommitRef]]:
    return [newer_than(refs, served.get(unit)) for unit, refs in commits.items()]


def _choosable(
    store: Store, encoding: str, units: Sequence[Sequence[CommitRef]], sizes: Mapping[str, int]
) -> Iterator[CommitRef]:
    """Yield every commit that a publisher may choose: none of a revision below a valid one."""
    several = [refs for refs in units if refs and refs[0].rev > refs[-1].rev]
    valid: dict[UnitId, int] = {}
    planned: dict[UnitId, tuple[UnitRange, str]] = {}
    if several:
        _, column, fingerprint = encoding.split("/")
        record = store.read_encoding(column, fingerprint)
        digests = {each.number: each.digest for each in store.generations()}
        planned = {u.unit: (u, digests[u.generation]) for u in store.units(record)}

        def best(refs: Sequence[CommitRef]) -> UnitEntry | str:
            known = planned.get(refs[0].unit)
            return "" if known is None else first_valid(store.folder, record, refs, known, sizes)

        for entry in map_ahead(best, several):
            if not isinstance(entry, str):
                valid[entry.unit.unit] = entry.rev
    for refs in units:
        yield from (ref for ref in refs if ref.rev >= valid.get(ref.unit, 0))


def _superseded_annotations(
    store: Store, kept: Sequence[SnapshotRecord], named: Collection[str]
) -> Iterator[str]:
    """Yield annotation files that no kept snapshot names and no later one can: of a lower revision
    than one that the newest names for the same rows, or of a draft that never became the plan."""
    generations = store.generations()
    if not generations:
        return
    newest = max(kept, key=lambda record: record.number, default=None)
    revs = {
        (name, entry.generation): file.rev
        for name, entries in (newest.annotations.items() if newest else ())
        for entry in entries
        if (file := AnnotationFile.parse(entry.name)) is not None
    }
    for file in list_annotations(store.folder):
        if file.name in named:
            continue
        found = open_file(store.folder, generations, file)
        if found is None or file.rev < revs.get((file.annotation, found.generation), -1):
            yield file.name


def _need_snapshot(
    folder: Folder,
    record: SnapshotRecord,
    needed: _Needed,
    served: dict[str, dict[UnitId, int]],
) -> None:
    needed.names.add(layout.snapshot_name(record.number))
    needed.names.add(layout.tombstone_name(record.number))
    for entries in record.annotations.values():
        needed.names.update(entry.name for entry in entries)
    for column, entry in record.columns.items():
        needed.names.update(ref.name for ref in (entry.units, entry.quarantine, entry.statistics))
        encoding = layout.encoding_folder(column, entry.fingerprint)
        needed.names.add(f"{encoding}/encoding.json")
        needed.names.add(layout.codebook_name(column, entry.fingerprint))
        needed.names.update(text.fields.name for text in entry.texts)
        writes = needed.writes.setdefault(encoding, set())
        revs = served.setdefault(encoding, {})
        # Of a snapshot that is given up the table may be lost: it serves nothing then.
        lost = folder.stat(entry.units.name) is None
        for unit in () if lost else read_units(folder, entry.units):
            writes.add(UnitObject(unit.unit.unit, unit.rev, unit.write_id))
            revs[unit.unit.unit] = max(unit.rev, revs.get(unit.unit.unit, -1))


def _encoding_of(name: str) -> str:
    return "/".join(name.split("/")[:3])


def _kind(name: str) -> str:
    return name.partition("/")[0] if "/" in name else "other"


def deletion_rank(name: str) -> int:
    """Return when an object goes: what names others before what is named, tombstones last."""
    if layout.parse_tombstone_name(name) is not None:
        return 3
    if "/commits/" in name:
        return 0
    return 2 if name.endswith("/encoding.json") else 1
