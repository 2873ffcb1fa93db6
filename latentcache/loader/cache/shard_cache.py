"""A bounded folder of objects fetched from remote stores, shared by a machine's processes.

Objects are named by their SHA-256, so stores never meet, and what is there under its name is
whole: it was compared on arrival and renamed last. Deleting any of it, or all, is safe.
"""

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EACCES, EDQUOT, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path
from threading import Lock
from time import monotonic, time_ns
from typing import BinaryIO

from latentcache.core.errors import ConfigError, ShardCorruptError
from latentcache.core.seeds import new_write_id
from latentcache.loader.cache.background import Ahead
from latentcache.storage import Folder, StorageError
from latentcache.store.format import ObjectRef

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 8 * 2**20
_NUM_LOCKS = 64
_ROOM_LOCK = "room"
_NUM_THREADS = 8
_MAX_PENDING = 256
_MAX_TRIES = 5
"""Times the folder may be deleted while one object is fetched."""
_LOG_EVERY_S = 10.0
_PARTIAL, _BITS = ".partial", ".bits"
_FULL = (ENOSPC, EDQUOT)
_UNUSABLE = (EACCES, EPERM, EROFS, ENOTDIR)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheProgress:
    """What a process has fetched so far.

    Attributes:
        num_fetched: Objects, tars but for annotations.
        fetched_bytes: In them.
        num_found: Times an object was there already.
        num_pending: Objects that threads fetch or are about to.
    """

    num_fetched: int
    fetched_bytes: int
    num_found: int
    num_pending: int


class ShardCache:
    """Fetches objects on demand and throws out those that were not used for longest."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Open the folder, made if need be, and clear what killed processes left.

        Raises:
            ConfigError: It cannot be written.
        """
        self.path, self.max_bytes = path, max_bytes
        self._ahead = Ahead("latentcache-fetch", num_threads=_NUM_THREADS, max_pending=_MAX_PENDING)
        self._count_lock = Lock()
        self._num_fetched = self._fetched_bytes = self._num_found = 0
        self._began_s = self._logged_s = monotonic()
        try:
            self._clear_leftovers()
        except OSError as error:
            raise self._unusable(error) from None

    def fetch(self, folder: Folder, ref: ObjectRef) -> Path:
        """Return a local copy of an object, fetched and compared if it is not there.

        Raises:
            ShardCorruptError: The store's bytes are not those that its commit recorded, twice.
            ConfigError: The cache is smaller than the object, or its disk is full and
                nothing can be thrown out, or it cannot be written any more.
        """
        if ref.size_bytes > self.max_bytes:
            raise ConfigError(
                f"cache_bytes must hold {_noun(ref)} of {ref.size_bytes} bytes, got "
                f"{self.max_bytes} ({ref.name}); allow several times as much"
            )
        path = self._path_of(ref)
        for _ in range(_MAX_TRIES):
            try:
                found = self._fetch(folder, ref, path)
                # A thread that comes to it later would fetch again what was thrown out since.
                self._ahead.forget(ref.sha256)
                return found
            except StorageError:
                raise
            except FileNotFoundError:  # the folder was deleted under us: it is made anew
                continue
            except OSError as error:
                if error.errno not in _UNUSABLE:
                    raise
                raise self._unusable(error) from None
        raise ConfigError(
            f"cache must be a folder that stays, got one that was deleted {_MAX_TRIES} times "
            f"while {ref.name} was fetched ({self.path}); choose another"
        )

    def fetch_ahead(self, folder: Folder, ref: ObjectRef) -> None:
        """Have an object fetched by a thread, unless enough of them wait already.

        One that is there counts as used now. What fails is tried again by ``fetch``, and told.
        """
        if self._touch(self._path_of(ref), ref):
            return
        self._ahead.submit(ref.sha256, lambda: self.fetch(folder, ref))

    def wait(self) -> None:
        """Return when all that threads were asked to fetch is there, or failed."""
        self._ahead.wait()

    def progress(self) -> CacheProgress:
        """Return what this process has fetched so far."""
        return CacheProgress(
            num_fetched=self._num_fetched,
            fetched_bytes=self._fetched_bytes,
            num_found=self._num_found,
            num_pending=self._ahead.num_pending,
        )

    def size_bytes(self) -> int:
        """Return how much the cache holds now."""
        return sum(size for _, size, _ in self._entries())

    def read_bits(self, key: str) -> bytes | None:
        """Return what ``write_bits`` kept under a key, or None."""
        path = self.path / f"{key}{_BITS}"
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        digest, bits = data[:32], data[32:]
        return bits if hashlib.sha256(bits).digest() == digest else None

    def write_bits(self, key: str, bits: bytes) -> None:
        """Keep some bytes under a key that says how they came about, if there is room."""
        path = self.path / f"{key}{_BITS}"
        try:
            if len(bits) + 32 <= self.max_bytes:
                self._write(path, [hashlib.sha256(bits).digest(), bits])
        except OSError as error:
            logger.info("the selection was not kept (%s): %s", self.path, error)

    def _path_of(self, ref: ObjectRef) -> Path:
        return self.path / f"{ref.sha256}{Path(ref.name).suffix}"

    def _fetch(self, folder: Folder, ref: ObjectRef, path: Path) -> Path:
        if not self._touch(path, ref):
            lock = str(int(ref.sha256[:8], 16) % _NUM_LOCKS)
            with self._lock(lock):  # another process may have fetched it meanwhile
                if not self._touch(path, ref):
                    self._download(folder, ref, path)
                    return path
        with self._count_lock:
            self._num_found += 1
        return path

    def _touch(self, path: Path, ref: ObjectRef) -> bool:
        try:
            if path.stat().st_size != ref.size_bytes:
                return False
            _use(path)
        except FileNotFoundError:
            return False
        return True

    def _download(self, folder: Folder, ref: ObjectRef, path: Path) -> None:
        """Fetch an object; what arrived damaged, once more; on a full disk, in place of others."""
        may_arrive_damaged = may_be_full = True
        while True:
            try:
                with self._lock(_ROOM_LOCK):
                    self._make_room(ref.size_bytes)
                self._write(path, _compared(folder, ref))
            except _Damaged as damage:
                if not may_arrive_damaged:
                    raise ShardCorruptError(f"{damage}; run latentcache verify --repair") from None
                may_arrive_damaged = False
                logger.warning("%s; fetching it again", damage)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                # The disk has less room than we were told: give up what we hold, once.
                self._clear_leftovers()
                if not may_be_full or not self._make_room(self.max_bytes):
                    raise self._full(ref) from None
                may_be_full = False
            else:
                break
        self._count(ref)

    def _write(self, path: Path, chunks: Iterable[bytes]) -> None:
        """Write a file so that it is there whole or not at all."""
        partial = self.path / f"{path.stem}.{new_write_id()}{_PARTIAL}"
        try:
            with self._created(partial) as target:
                for chunk in chunks:
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
                size = target.tell()
                _use(partial)
                # Others land meanwhile: room is made and taken in one step: the bound holds.
                with self._lock(_ROOM_LOCK):
                    self._make_room(size)
                    partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def _created(self, partial: Path) -> Iterator[BinaryIO]:
        """Create a file that is locked while this process lives, so that others leave it."""
        with self._lock(_ROOM_LOCK):
            target = partial.open("xb")
            fcntl.flock(target, fcntl.LOCK_EX)
        with target:
            yield target

    def _clear_leftovers(self) -> None:
        """Delete partial files whose writers were killed: nobody holds their locks."""
        with self._lock(_ROOM_LOCK):
            for left in self.path.glob(f"*{_PARTIAL}"):
                try:
                    with left.open("rb") as file:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        left.unlink(missing_ok=True)
                except (BlockingIOError, FileNotFoundError):
                    continue

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        path = self.path / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # ends with the file, whatever kills us
            yield

    def _make_room(self, num_bytes: int) -> int:
        """Throw out the least recently used until ``num_bytes`` fit; return bytes freed."""
        entries = sorted(self._entries())
        excess = sum(size for _, size, _ in entries) + num_bytes - self.max_bytes
        freed = 0
        for _, size, path in entries:
            if freed >= excess:
                break
            path.unlink(missing_ok=True)  # who has it mapped goes on reading it
            freed += size
        return freed

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        for suffix in (".tar", ".arrow", _BITS):
            for path in self.path.glob(f"*{suffix}"):
                try:
                    status = path.stat()
                except FileNotFoundError:  # thrown out by another process
                    continue
                yield status.st_mtime, status.st_size, path

    def _count(self, ref: ObjectRef) -> None:
        now_s = monotonic()
        with self._count_lock:
            self._num_fetched += 1
            self._fetched_bytes += ref.size_bytes
            is_due = now_s - self._logged_s > _LOG_EVERY_S
            if is_due:
                self._logged_s = now_s
        if is_due:
            logger.info(
                "fetched %d objects, %.2f GB at %.0f MB/s since the start; %d to come (%s)",
                self._num_fetched,
                self._fetched_bytes / 1e9,
                self._fetched_bytes / 1e6 / (now_s - self._began_s),
                self._ahead.num_pending,
                self.path,
            )

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"cache must be a folder that can be written, got "
            f"{(error.strerror or str(error)).lower()!r} ({self.path}); choose another"
        )

    def _full(self, ref: ObjectRef) -> ConfigError:
        return ConfigError(
            f"cache disk must have room for {_noun(ref)} of {ref.size_bytes} bytes, got a full "
            f"one ({self.path}); free some, or choose another cache folder"
        )


class _Damaged(Exception):
    """What arrived is not what was committed."""


def _compared(folder: Folder, ref: ObjectRef) -> Iterator[bytes]:
    """Yield an object in chunks, and fail after the last if they are not what was committed."""
    digest = hashlib.sha256()
    size = 0
    try:
        with folder.open_read(ref.name) as source:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                yield chunk
    except FileNotFoundError:
        raise ShardCorruptError(
            f"{_noun(ref)[2:]} must be in the store, got none ({ref.name} in {folder.label}); "
            f"run latentcache verify --repair"
        ) from None
    if (size, digest.hexdigest()) != (ref.size_bytes, ref.sha256):
        raise _Damaged(
            f"{_noun(ref)[2:]} must have {ref.size_bytes} bytes and SHA-256 {ref.sha256[:16]}, "
            f"got {size} bytes and {digest.hexdigest()[:16]} ({ref.name} in {folder.label})"
        )


def check_file(path: Path, ref: ObjectRef) -> None:
    """Refuse a local file that is not what was committed.

    Raises:
        ShardCorruptError: It is not, or is not there.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise ShardCorruptError(
            f"{_noun(ref)[2:]} must be in the store, got none ({path}); "
            f"run latentcache verify --repair"
        ) from None
    if found != ref.sha256:
        raise ShardCorruptError(
            f"{_noun(ref)[2:]} must have SHA-256 {ref.sha256[:16]}, got {found[:16]} ({path}); "
            f"run latentcache verify --repair"
        )


def _use(path: Path) -> None:
    """Note that a file is used now: the kernel's own clock ticks every few milliseconds, in which
    small tars come and go, and a tie would throw out what is needed next.
    """
    now_ns = time_ns()
    os.utime(path, ns=(now_ns, now_ns))


def _noun(ref: ObjectRef) -> str:
    return "a tar" if ref.name.endswith(".tar") else "a file"
