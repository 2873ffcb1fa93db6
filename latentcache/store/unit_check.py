"""Looking for damage in one unit: its commit, its meta, its tar and every tensor in it."""

import hashlib
import mmap
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from latentcache.core.errors import ShardCorruptError, StoreError
from latentcache.storage import Folder
from latentcache.store.format.records import (
    Commit,
    EncodingRecord,
    Generation,
    ObjectRef,
    UnitEntry,
)
from latentcache.store.format.tar import BLOCK_BYTES, TarMember, iter_members
from latentcache.store.format.tensor_file import TensorFileReader, layout_of
from latentcache.store.format.tensors import TensorBytes
from latentcache.store.format.unit_meta import UnitMeta
from latentcache.store.rows.plan_tables import read_rows
from latentcache.store.units.commits import CommitRef
from latentcache.store.units.unit_reader import member_ranges, missing_object, read_unit_meta

MAX_PROBLEMS = 20
"""Per unit: enough to see what happened; a unit is repaired whole anyway."""

_CHUNK_BYTES = 2**20

_EXPONENTS: dict[str, np.ndarray[Any, Any]] = {
    "float64": np.array(0x7FF0_0000_0000_0000, np.uint64),
    "float32": np.array(0x7F80_0000, np.uint32),
    "float16": np.array(0x7C00, np.uint16),
    "bfloat16": np.array(0x7F80, np.uint16),
    "float8_e5m2": np.array(0x7C, np.uint8),
    "float8_e4m3fn": np.array(0x7F, np.uint8),
}
"""Bits that are all set in infinity and NaN; e4m3fn has one NaN only and no infinity."""

Layout = dict[str, tuple[str, tuple[int, ...]]]
"""Field name to (dtype, shape)."""


@dataclass
class UnitProblems:
    """What was wrong with one unit.

    Attributes:
        num_samples: Members that were read.
        layout: Dtypes and shapes of its first sample, if all should have them.
        problems: (key or None, sentence).
    """

    num_samples: int = 0
    layout: Layout | None = None
    problems: list[tuple[str | None, str]] = field(default_factory=list)

    def add(self, what: str, key: str | None = None) -> None:
        """Note a problem, unless there are plenty already."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append((key, what))


class WrittenColumn(Protocol):
    """An encoding whose units are compared, served or not."""

    @property
    def folder(self) -> Folder:
        """The store."""
        ...

    @property
    def name(self) -> str:
        """Of the column."""
        ...

    @property
    def record(self) -> EncodingRecord:
        """The encoding."""
        ...

    @property
    def generations(self) -> Mapping[int, Generation]:
        """The plan, by number."""
        ...


def check_unit(view: WrittenColumn, entry: UnitEntry) -> UnitProblems:
    """Return what differs from what was recorded; never raises because of damage."""
    found = UnitProblems()
    _check_commit(view, entry, found)
    try:
        meta = read_unit_meta(view.folder, entry)
    except ShardCorruptError as error:
        found.add(f"meta: {error}")
        meta = None
    if meta is not None and meta.num_present != entry.num_present:
        found.add(f"meta has {meta.num_present} rows present, the commit {entry.num_present}")
    if entry.tar is None:
        if entry.num_present:
            found.add(f"the commit has {entry.num_present} rows present and no tar")
        return found
    try:
        with _opened(view.folder, entry.tar) as data:
            _check_tar(view, entry, meta, data, found)
    except FileNotFoundError:
        found.add(f"tar: {missing_object(entry.tar)}")
    return found


def _check_commit(view: WrittenColumn, entry: UnitEntry, found: UnitProblems) -> None:
    name = CommitRef.of_entry(view.name, view.record.fingerprint, entry).name
    try:
        commit = Commit.parse(view.folder.read(name), where=name)
    except FileNotFoundError:
        found.add(f"commit: {name} is missing")
        return
    except StoreError as error:
        found.add(f"commit: {error}")
        return
    generation = view.generations[entry.unit.generation]
    pairs = {
        "unit": (commit.unit, str(entry.unit.unit)),
        "tar": (commit.tar, entry.tar),
        "meta": (commit.meta, entry.meta),
        "num_present": (commit.num_present, entry.num_present),
        "num_rows": (commit.num_rows, entry.unit.num_rows),
        "encoding": (commit.encoding_digest, view.record.digest),
        "generation": (commit.generation_digest, generation.digest),
    }
    for what, (said, expected) in pairs.items():
        if said != expected:
            found.add(f"commit says {what} {said}, the snapshot {expected} ({name})")


@contextmanager
def _opened(folder: Folder, ref: ObjectRef) -> Iterator[memoryview]:
    """Yield an object's bytes, mapped: a remote one through a temporary file."""
    path = folder.local_path(ref.name)
    with tempfile.TemporaryFile() if path is None else path.open("rb") as file:
        if path is None:
            with folder.open_read(ref.name) as source:
                while chunk := source.read(_CHUNK_BYTES):
                    file.write(chunk)
            file.flush()
        if file.seek(0, 2) == 0:
            yield memoryview(b"")
            return
        # Left to the garbage collector: views of it may live on in an exception's frames.
        yield memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _check_tar(
    view: WrittenColumn,
    entry: UnitEntry,
    meta: UnitMeta | None,
    data: memoryview,
    found: UnitProblems,
) -> None:
    assert entry.tar is not None
    if data.nbytes != entry.tar.size_bytes:
        found.add(f"tar has {data.nbytes} bytes, the commit says {entry.tar.size_bytes}")
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != entry.tar.sha256:
        found.add(f"tar has SHA-256 {sha256[:16]}, the commit says {entry.tar.sha256[:16]}")
    members: list[TarMember] = []
    try:
        for member in iter_members(data, column=view.name, where=entry.tar.name):
            members.append(member)
            found.num_samples += 1
    except ShardCorruptError as error:
        found.add(f"tar: {error}")
    _check_fields(view, members, data, found)
    if meta is not None and meta.layout is None:
        found.layout = None
    if meta is not None:
        _check_one_layout(meta, members, data, found)
        _check_alignment(view, entry, meta, members, found)


def _check_alignment(
    view: WrittenColumn,
    entry: UnitEntry,
    meta: UnitMeta,
    members: Sequence[TarMember],
    found: UnitProblems,
) -> None:
    """Compare the tar's keys with the plan's, and its places with the meta's."""
    generation = view.generations[entry.unit.generation]
    try:
        planned = read_rows(view.folder, generation, entry.unit, ["key"])["key"].to_pylist()
    except (ShardCorruptError, OSError) as error:
        is_trouble = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        if is_trouble and not view.folder.is_local:
            raise  # a server that does not answer damages nothing
        found.add(f"plan rows cannot be read: {error}")
        return
    row_of = {key: entry.unit.first_row + index for index, key in enumerate(planned)}
    ranges = member_ranges(meta).tolist()
    rows = meta.rows_present.tolist()
    if len(members) != len(rows):
        found.add(f"tar holds {len(members)} members, meta has {len(rows)} rows present")
    for slot, (member, row, place) in enumerate(zip(members, rows, ranges, strict=False)):
        actual = row_of.get(member.key)
        if actual is None:
            found.add(f"slot {slot} holds a key that the plan does not have here", member.key)
        elif actual != row:
            found.add(f"slot {slot} holds row {actual}, meta says row {row}", member.key)
        if [member.start, member.size_bytes] != place:
            said = f"{place[1]} bytes at {place[0]}"
            got = f"{member.size_bytes} at {member.start}"
            found.add(f"member lies elsewhere than meta says: {got}, not {said}", member.key)


def _check_one_layout(
    meta: UnitMeta, members: Sequence[TarMember], data: memoryview, found: UnitProblems
) -> None:
    """Compare all members' headers with the first: strided readers parse that one alone."""
    if meta.layout is None or not members:
        return
    num_bytes = meta.layout.first_payload - BLOCK_BYTES
    first = bytes(data[members[0].start : members[0].start + num_bytes])
    for member in members:
        if bytes(data[member.start : member.start + num_bytes]) != first:
            found.add("member has another layout than the first of its unit", member.key)


def _check_fields(
    view: WrittenColumn, members: Sequence[TarMember], data: memoryview, found: UnitProblems
) -> None:
    """Compare every member's tensors with the encoding's fields, and look for NaN."""
    reader = TensorFileReader()
    for member in members:
        body = data[member.start : member.start + member.size_bytes]
        try:
            tensors = reader.read(body, where=member.key)
        except ShardCorruptError as error:
            found.add(f"member: {error}", member.key)
            continue
        wrong = _wrong_fields(view, layout_of(tensors))
        if wrong:
            found.add(wrong, member.key)
        found.layout = found.layout or layout_of(tensors)
        for name, tensor in tensors.items():
            bad = num_non_finite(tensor)
            if bad:
                found.add(f"{name} holds {bad} values that are not finite", member.key)


def _wrong_fields(view: WrittenColumn, layout: Layout) -> str:
    expected = {one.name: one for one in view.record.fields}
    if layout.keys() != expected.keys():
        return f"member holds fields {sorted(layout)}, the encoding has {sorted(expected)}"
    for name, (dtype, shape) in layout.items():
        one = expected[name]
        if dtype != one.dtype or len(shape) != len(one.axes):
            return f"{name} is {dtype} {shape}, the encoding has {one.dtype} {one.axes}"
        at = one.axes.find("C")
        channels = 1 if "C" in one.broadcast else one.channels
        if at >= 0 and channels is not None and shape[at] != channels:
            return f"{name} has shape {shape}, the encoding has {channels} channels"
    return ""


def num_non_finite(tensor: TensorBytes) -> int:
    """Return how many values are NaN or infinite; looks at bits, so bf16 and fp8 are as fast."""
    exponent = _EXPONENTS.get(tensor.dtype)
    if exponent is None:
        return 0
    bits = np.frombuffer(tensor.data, exponent.dtype)
    return int(np.count_nonzero((bits & exponent) == exponent))
