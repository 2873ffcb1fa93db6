"""Verifying a snapshot: every byte that it names is compared with what was recorded.

Whatever is wrong becomes one sentence; nothing found stops the search for more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from latentcache.core.errors import ShardCorruptError
from latentcache.core.media import Bucket
from latentcache.core.units import UnitId
from latentcache.storage import Folder, map_ahead
from latentcache.store.format.object_names import encoding_folder
from latentcache.store.format.records import (
    AnnotationEntry,
    EncodingRecord,
    Generation,
    ObjectRef,
    PlanPart,
    TableRef,
    UnitEntry,
)
from latentcache.store.format.write_check import object_sha256
from latentcache.store.snapshots.snapshot import ColumnView, Snapshot
from latentcache.store.store import Store
from latentcache.store.unit_check import Layout, UnitProblems, WrittenColumn, check_unit
from latentcache.store.units.commit_choices import choose_units

Progress = Callable[[int, int], None]
"""Called with (units done, units in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is not as recorded.

    Attributes:
        column: Or "" for the plan and annotations.
        unit: The unit to encode again, or None if it is not one.
        key: The sample, where one can be named.
        what: One sentence.
    """

    column: str
    unit: UnitId | None
    key: str | None
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was looked at, and what was wrong."""

    num_shards: int
    num_samples: int
    damaged: tuple[Damage, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not self.damaged


def verify_snapshot(
    snapshot: Snapshot,
    *,
    columns: Sequence[str] | None = None,
    on_progress: Progress | None = None,
) -> VerifyReport:
    """Return what is wrong with the objects of a snapshot.

    Compared are: plan and annotation checksums; per column its tables, the sum that must
    add up, and per unit commit, meta and tar: checksums, tar structure, keys against the
    plan, field names, dtypes, shapes, payload places, finiteness.

    Args:
        snapshot: Read whole, one unit at a time per thread.
        columns: Only these; None for all.
        on_progress: Called after every unit.
    """
    damaged = list(_plan_damage(snapshot))
    views = [snapshot.column(name) for name in (snapshot.columns if columns is None else columns)]
    work: list[tuple[WrittenColumn, UnitEntry]] = []
    for view in views:
        damaged += _column_damage(view)
        if _has_units(view):
            work += [(view, entry) for entry in view.units()]
    of_units, num_samples = _unit_damage(work, on_progress)
    damaged += of_units
    num_shards = sum(entry.tar is not None for _, entry in work)
    return VerifyReport(num_shards=num_shards, num_samples=num_samples, damaged=tuple(damaged))


@dataclass(frozen=True, slots=True)
class _Written:
    """An encoding that no snapshot need serve."""

    folder: Folder
    name: str
    record: EncodingRecord
    generations: Mapping[int, Generation]


def verify_encoding(
    store: Store, record: EncodingRecord, *, on_progress: Progress | None = None
) -> VerifyReport:
    """Return what is wrong with the units of an encoding that a publisher would choose.

    Args:
        store: The store.
        record: The encoding, served or not.
        on_progress: Called after every unit.
    """
    generations = store.generations()
    by_number = {generation.number: generation for generation in generations}
    written = _Written(store.folder, record.column, record, by_number)
    choices = choose_units(store.folder, record, generations, ())
    work: list[tuple[WrittenColumn, UnitEntry]] = [
        (written, choice.entry) for choice in choices if choice.entry is not None
    ]
    damaged, num_samples = _unit_damage(work, on_progress)
    num_shards = sum(entry.tar is not None for _, entry in work)
    return VerifyReport(num_shards=num_shards, num_samples=num_samples, damaged=tuple(damaged))


def _unit_damage(
    work: Sequence[tuple[WrittenColumn, UnitEntry]], on_progress: Progress | None
) -> tuple[list[Damage], int]:
    """Return what is wrong with units, and how many samples they hold."""
    damaged: list[Damage] = []
    num_samples = 0
    shapes: dict[tuple[str, Bucket], tuple[UnitId, Layout]] = {}
    for done, (view, entry, checked) in enumerate(map_ahead(_check, work), 1):
        _compare_shapes(view, entry, checked, shapes)
        damaged += [
            Damage(column=view.name, unit=entry.unit.unit, key=key, what=what)
            for key, what in checked.problems
        ]
        num_samples += checked.num_samples
        if on_progress is not None:
            on_progress(done, len(work))
    return damaged, num_samples


def listed_damage(view: ColumnView) -> list[str]:
    """Return which tars and metas of a column a listing alone shows to be gone or of another size.

    Cheap, and no proof that the rest is right: what is inside them only reading shows.
    """
    folder = encoding_folder(view.name, view.record.fingerprint)
    sizes = {
        info.name: info.size_bytes
        for kind in ("shards", "meta")
        for info in view.folder.list(f"{folder}/{kind}")
    }
    found = []
    for entry in view.units():
        for ref in (entry.tar, entry.meta):
            if ref is None or sizes.get(ref.name) == ref.size_bytes:
                continue
            got = f"has {sizes[ref.name]} bytes" if ref.name in sizes else "is missing"
            found.append(f"{ref.name} {got}, recorded are {ref.size_bytes}")
    return found


def _check(
    item: tuple[WrittenColumn, UnitEntry],
) -> tuple[WrittenColumn, UnitEntry, UnitProblems]:
    view, entry = item
    return view, entry, check_unit(view, entry)


def _compare_shapes(
    view: WrittenColumn,
    entry: UnitEntry,
    checked: UnitProblems,
    shapes: dict[tuple[str, Bucket], tuple[UnitId, Layout]],
) -> None:
    """Compare a unit's shapes with those of the first unit of its bucket."""
    if checked.layout is None:
        return
    unit = entry.unit
    first, layout = shapes.setdefault((view.name, unit.bucket), (unit.unit, checked.layout))
    if checked.layout != layout:
        checked.add(f"samples of {unit.bucket} are {checked.layout}, in {first} {layout}")


def _has_units(view: ColumnView) -> bool:
    try:
        view.units()
    except (ShardCorruptError, FileNotFoundError):
        return False
    return True


def _plan_damage(snapshot: Snapshot) -> Iterator[Damage]:
    objects: list[PlanPart | TableRef | AnnotationEntry] = []
    for generation in snapshot.generations:
        objects += _plan_objects(generation)
    for entries in snapshot.record.annotations.values():
        objects += entries
    for what in map_ahead(partial(_object_damage, snapshot.folder), objects):
        if what:
            yield Damage(column="", unit=None, key=None, what=what)


def _plan_objects(generation: Generation) -> list[PlanPart | TableRef]:
    tables = [table for table in (generation.rejects, generation.retired) if table]
    return [*generation.parts, *tables]


def _object_damage(folder: Folder, ref: ObjectRef | PlanPart | TableRef | AnnotationEntry) -> str:
    try:
        sha256 = object_sha256(folder, ref.name)
    except FileNotFoundError:
        return f"{ref.name} is missing"
    if sha256 != ref.sha256:
        return f"{ref.name} has SHA-256 {sha256[:16]}, recorded is {ref.sha256[:16]}"
    return ""


def _column_damage(view: ColumnView) -> Iterator[Damage]:
    for read in (view.units, view.quarantine, view.statistics):
        try:
            read()
        except (ShardCorruptError, FileNotFoundError) as error:
            yield Damage(column=view.name, unit=None, key=None, what=f"snapshot table: {error}")
    try:
        view.codebook()
    except ShardCorruptError as error:
        yield Damage(column=view.name, unit=None, key=None, what=str(error))
    for text in view.entry.texts:
        if what := _object_damage(view.folder, text.fields):
            yield Damage(column=view.name, unit=None, key=None, what=f"text {text.name}: {what}")
    entry = view.entry
    total = entry.num_encoded + entry.num_quarantined + entry.num_missing
    if total != entry.num_planned or entry.quarantine.num_rows != entry.num_quarantined:
        what = (
            f"{entry.num_encoded} encoded + {entry.num_quarantined} quarantined + "
            f"{entry.num_missing} missing is not {entry.num_planned} planned"
        )
        yield Damage(column=view.name, unit=None, key=None, what=what)
