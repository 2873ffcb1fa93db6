"""An object store in memory, with a clock of its own and the faults that real ones have."""

import errno
import io
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from latentcache.storage import CreateIfAbsentSupport, Folder, ObjectInfo, RetryPolicy
from latentcache.storage.objects import Backend
from tests.store.turns import Writer

OPERATION_S = 0.05
STALE_S = 600.0
"""A listing is never older than this; gc's grace is a day."""
READS = ("503", "timeout")
WRITES = ("503", "500", "lost", "late", "cut")
CONDITIONAL = ("503", "409", "412", "lost", "late", "twice")
"""``late``: given up, and lands when it likes. ``twice``: the client sends it again by itself."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of an object."""

    data: bytes
    modified_s: float


@dataclass
class Memory:
    """What the servers hold.

    Attributes:
        condition: What they do with "create this unless it is there".
        now_s: Their clock, seconds.
        objects: By name.
        late: Writes that were given up and may still land.
        replaced: Names whose bytes were changed by another write.
        counts: How often each fault was met.
    """

    condition: CreateIfAbsentSupport = CreateIfAbsentSupport.EXCLUSIVE
    now_s: float = 1e9
    objects: dict[str, Stored] = field(default_factory=dict)
    late: list[Callable[[], None]] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    _changes: list[tuple[float, str, Stored | None]] = field(default_factory=list)

    def put(self, name: str, data: bytes) -> None:
        """Put an object, whatever is there."""
        before = self.objects.get(name)
        if before is not None and before.data != data:
            self.replaced.add(name)
        self._changes.append((self.now_s, name, before))
        self.objects[name] = Stored(data, self.now_s)

    def put_cut(self, name: str, data: bytes) -> None:
        """Put half of an object, which is the servers' change of what an earlier try left there."""
        self._changes.append((self.now_s, name, self.objects.get(name)))
        self.objects[name] = Stored(data[: len(data) // 2], self.now_s)

    def remove(self, name: str) -> None:
        """Delete an object, if it is there."""
        before = self.objects.pop(name, None)
        if before is not None:
            self._changes.append((self.now_s, name, before))

    def listing(self, since_s: float) -> dict[str, Stored]:
        """Return the objects as they were ``since_s`` seconds ago."""
        found = dict(self.objects)
        for at_s, name, before in reversed(self._changes):
            if at_s < self.now_s - since_s:
                break
            if before is None:
                found.pop(name, None)
            else:
                found[name] = before
        return found

    def copy(self) -> "Memory":
        """Return another store that holds the same."""
        return Memory(self.condition, self.now_s, dict(self.objects))


class Faults:
    """Draws what goes wrong with an operation."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.rate = 0.0
        self.draw = random.Random(0)

    def next(self, kinds: Sequence[str]) -> str:
        """Return a fault, or "" for none."""
        if self.draw.random() >= self.rate:
            return ""
        kind = self.draw.choice(kinds)
        self._memory.counts[kind] = self._memory.counts.get(kind, 0) + 1
        return kind


def _refused(fault: str) -> OSError:
    """Return what s3fs makes of an answer; see its ``errors.py``."""
    return {
        "503": OSError(errno.EBUSY, "Please reduce your request rate."),
        "500": OSError(errno.EREMOTEIO, "We encountered an internal error."),
        "409": OSError(errno.EIO, "ConditionalRequestConflict"),
        "412": FileExistsError("At least one of the pre-conditions did not hold"),
    }.get(fault) or TimeoutError("no answer")


@dataclass(frozen=True)
class FaultyBackend(Backend):
    """One writer's way to the servers."""

    memory: Memory
    faults: Faults
    writer: Writer | None

    def _turn(self) -> None:
        if self.writer is not None:
            self.writer.turn()
        self.memory.now_s += OPERATION_S

    def _reading(self) -> None:
        self._turn()
        if fault := self.faults.next(READS):
            raise _refused(fault)

    def _found(self, name: str) -> Stored:
        try:
            return self.memory.objects[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such key", name) from None

    def read(self, name: str, start: int | None, end: int | None) -> bytes:
        self._reading()
        return self._found(name).data[start:end]

    def open_read(self, name: str) -> BinaryIO:
        self._reading()
        return io.BytesIO(self._found(name).data)

    def write(self, name: str, data: bytes) -> None:
        self._turn()
        fault = self.faults.next(WRITES[:-1])
        if fault == "late":
            self.memory.late.append(lambda: self.memory.put(name, data))
        elif fault in ("", "lost"):
            self.memory.put(name, data)
        if fault:
            raise _refused(fault)

    def upload(self, name: str, path: Path) -> None:
        self._turn()
        fault, data = self.faults.next(WRITES), path.read_bytes()
        if fault == "late":
            self.memory.late.append(lambda: self.memory.put(name, data))
        elif fault in ("", "lost"):
            self.memory.put(name, data)
        elif fault == "cut":  # a part of a multipart upload is not there, and nobody says so
            self.memory.put_cut(name, data)
            return
        if fault:
            raise _refused(fault)

    def put_if_absent(self, name: str, data: bytes) -> None:
        self._turn()
        fault = self.faults.next(CONDITIONAL)
        if fault == "late":
            self.memory.late.append(lambda: self._put_late(name, data))
        if fault in ("", "lost", "twice"):
            self._put_new(name, data)
        if fault == "twice":
            self._put_new(name, data)
        elif fault:
            raise _refused(fault)

    def _put_new(self, name: str, data: bytes) -> None:
        weak = self.memory.condition is CreateIfAbsentSupport.WEAK
        is_there = name in self.memory.objects
        if weak and not is_there:
            self._turn()  # another writer may come between the look and the write
        if is_there and self.memory.condition is not CreateIfAbsentSupport.ABSENT:
            raise _refused("412")
        self.memory.put(name, data)

    def _put_late(self, name: str, data: bytes) -> None:
        absent = self.memory.condition is CreateIfAbsentSupport.ABSENT
        if absent or name not in self.memory.objects:
            self.memory.put(name, data)

    def _listed(self) -> dict[str, Stored]:
        self._turn()
        fault = self.faults.next((*READS, "stale"))
        if fault == "stale":
            return self.memory.listing(self.faults.draw.uniform(0, STALE_S))
        if fault:
            raise _refused(fault)
        return dict(self.memory.objects)

    def iter_objects(self, prefix: str, *, with_temporary: bool) -> Iterator[ObjectInfo]:
        for name, stored in self._listed().items():
            info = _info(name, stored)
            if name.startswith(f"{prefix}/" if prefix else "") and (
                with_temporary or not info.is_temporary
            ):
                yield info

    def iter_folders(self, prefix: str) -> Iterator[str]:
        below = f"{prefix}/" if prefix else ""
        rest = (name[len(below) :] for name in self._listed() if name.startswith(below))
        yield from sorted({name.partition("/")[0] for name in rest if "/" in name})

    def is_empty(self) -> bool:
        return all(_info(name, stored).is_temporary for name, stored in self._listed().items())

    def stat(self, name: str) -> ObjectInfo | None:
        self._reading()
        stored = self.memory.objects.get(name)
        return _info(name, stored) if stored else None

    def delete(self, names: Sequence[str]) -> None:
        self._turn()
        fault = self.faults.next(("503", "lost"))
        gone = names if fault != "503" else names[: len(names) // 2]
        for name in gone:
            self.memory.remove(name)
        if fault:
            raise _refused(fault)


def _info(name: str, stored: Stored) -> ObjectInfo:
    version = str(hash(stored.data))
    return ObjectInfo(
        name=name, size_bytes=len(stored.data), modified_s=stored.modified_s, version=version
    )


@dataclass(frozen=True)
class FaultyFolder(Folder):
    """The real folder over servers in memory."""

    backend: FaultyBackend | None = field(default=None, compare=False)

    @classmethod
    def of(cls, memory: Memory, writer: Writer | None = None) -> "FaultyFolder":
        """Return one writer's folder; without a writer nothing waits."""
        backend = FaultyBackend(memory, Faults(memory), writer)
        policy = RetryPolicy(sleep=lambda _: None, clock=lambda: memory.now_s)
        return cls("model://store", policy, backend=backend)

    @property
    def faults(self) -> Faults:
        """What goes wrong on this way."""
        assert self.backend is not None
        return self.backend.faults

    def _backend(self) -> Backend:
        assert self.backend is not None
        return self.backend
