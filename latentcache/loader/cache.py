"""A bounded folder of tars fetched from remote stores, shared by the processes of a machine.

Tars are named by their SHA-256, so stores never meet, and what is there under its name is
whole: it was compared on arrival and renamed last. Deleting any of it, or all, is safe.
"""

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path

from latentcache.core.errors import ConfigError, ShardCorruptError
from latentcache.core.seeds import new_write_id
from latentcache.storage import Folder
from latentcache.store.records import ObjectRef

logger = logging.getLogger(__name__)

STALE_AFTER_S = 3600.0
"""A partial file that nobody has written to for so long was left by a killed process."""

_CHUNK_BYTES = 8 * 2**20
_NUM_LOCKS = 64
_ROOM_LOCK = "room"
_NUM_THREADS = 4
_MAX_PENDING = 32
_PARTIAL = ".partial"


class ShardCache:
    """Fetches tars on demand and throws out those that were not used for longest."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Open the folder, made if need be, and clear what killed processes left.

        Raises:
            ConfigError: It cannot be written.
        """
        self.path, self.max_bytes = path, max_bytes
        self._pool = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="latentcache-fetch")
        self._pending: set[str] = set()
        try:
            (path / "locks").mkdir(parents=True, exist_ok=True)
            for left in path.glob(f"*{_PARTIAL}"):
                if time.time() - left.stat().st_mtime > STALE_AFTER_S:
                    left.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cache must be a folder that can be written, got "
                f"{(error.strerror or str(error)).lower()!r} ({path}); choose another"
            ) from None

    def fetch(self, folder: Folder, ref: ObjectRef) -> Path:
        """Return a local copy of an object, fetched and compared if it is not there.

        Raises:
            ShardCorruptError: The store's bytes are not those that its commit recorded.
            ConfigError: The cache is smaller than the object, or its disk is full and
                nothing can be thrown out.
        """
        if ref.size_bytes > self.max_bytes:
            raise ConfigError(
                f"cache_bytes must hold a tar of {ref.size_bytes} bytes, got {self.max_bytes} "
                f"({ref.name}); allow several times as much"
            )
        path = self.path / f"{ref.sha256}.tar"
        if self._touch(path, ref):
            return path
        with self._locked(ref.sha256):  # another process may have fetched it meanwhile
            if not self._touch(path, ref):
                self._make_room(ref.size_bytes)
                self._download(folder, ref, path)
        return path

    def fetch_ahead(self, folder: Folder, ref: ObjectRef) -> None:
        """Have an object fetched by a thread, unless enough of them wait already.

        What fails there is tried again by ``fetch``, which says why.
        """
        if ref.sha256 in self._pending or len(self._pending) >= _MAX_PENDING:
            return
        self._pending.add(ref.sha256)
        task = self._pool.submit(self.fetch, folder, ref)
        task.add_done_callback(lambda _: self._pending.discard(ref.sha256))

    def size_bytes(self) -> int:
        """Return how much the cache holds now."""
        return sum(size for _, size, _ in self._entries())

    def _touch(self, path: Path, ref: ObjectRef) -> bool:
        try:
            if path.stat().st_size != ref.size_bytes:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _locked(self, sha256: str) -> AbstractContextManager[None]:
        return self._lock(str(int(sha256[:8], 16) % _NUM_LOCKS))

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        with (self.path / "locks" / name).open("a") as file:
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
        for path in self.path.glob("*.tar"):
            try:
                status = path.stat()
            except FileNotFoundError:  # thrown out by another process
                continue
            yield status.st_mtime, status.st_size, path

    def _download(self, folder: Folder, ref: ObjectRef, path: Path) -> None:
        try:
            self._write(folder, ref, path)
        except OSError as error:
            if error.errno not in (ENOSPC, EDQUOT):
                raise
            # The disk has less room than we were told: give up what we hold, once.
            if not self._make_room(self.max_bytes):
                raise self._full(ref) from None
            try:
                self._write(folder, ref, path)
            except OSError as again:
                if again.errno in (ENOSPC, EDQUOT):
                    raise self._full(ref) from None
                raise

    def _write(self, folder: Folder, ref: ObjectRef, path: Path) -> None:
        partial = self.path / f"{ref.sha256}.{new_write_id()}{_PARTIAL}"
        digest = hashlib.sha256()
        size = 0
        try:
            with folder.open_read(ref.name) as source, partial.open("xb") as target:
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
            if (size, digest.hexdigest()) != (ref.size_bytes, ref.sha256):
                raise ShardCorruptError(
                    f"tar must have {ref.size_bytes} bytes and SHA-256 {ref.sha256[:16]}, got "
                    f"{size} bytes and {digest.hexdigest()[:16]} ({ref.name} in {folder.label}); "
                    f"run latentcache verify --repair"
                )
            # Others land meanwhile: room is made and taken in one step, so the bound holds.
            with self._lock(_ROOM_LOCK):
                self._make_room(ref.size_bytes)
                partial.rename(path)
        except FileNotFoundError:
            raise ShardCorruptError(
                f"tar must be in the store, got none ({ref.name} in {folder.label}); "
                f"run latentcache verify --repair"
            ) from None
        finally:
            partial.unlink(missing_ok=True)

    def _full(self, ref: ObjectRef) -> ConfigError:
        return ConfigError(
            f"cache disk must have room for a tar of {ref.size_bytes} bytes, got a full one "
            f"({self.path}); free some, or choose another cache folder"
        )
