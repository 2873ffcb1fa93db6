"""Local folders: every write is durable before it is visible, and visible all at once."""

import errno
import logging
import os
import secrets
import shutil
import stat as stat_bits
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from latentcache.storage.objects import TEMPORARY_PREFIX, ObjectInfo

logger = logging.getLogger(__name__)

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
"""What file systems without hard links (exFAT, some network mounts) answer."""


@dataclass(frozen=True, slots=True)
class LocalBackend:
    """A folder of a POSIX file system.

    Attributes:
        root: Absolute.
    """

    root: Path

    def read(self, name: str, start: int | None, end: int | None) -> bytes:
        """Return bytes ``[start, end)``."""
        with (self.root / name).open("rb") as file:
            if start:
                file.seek(start)
            return file.read() if end is None else file.read(max(0, end - (start or 0)))

    def open_read(self, name: str) -> BinaryIO:
        """Return a seekable file."""
        return (self.root / name).open("rb")

    def write(self, name: str, data: bytes) -> None:
        """Write to a temporary file, sync it, rename it, sync the folder."""
        path = self.root / name
        temporary = self._write_temporary(path, data)
        self._replace(temporary, path)

    def upload(self, name: str, path: Path) -> None:
        """Link the file in if it is on the same file system, else copy it."""
        target = self.root / name
        _make_folder(target.parent)
        temporary = _temporary_path(target)
        try:
            _sync_file(path)
            try:
                os.link(path, temporary)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                with path.open("rb") as source, temporary.open("xb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                    copy.flush()
                    os.fsync(copy.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._replace(temporary, target)

    def put_if_absent(self, name: str, data: bytes) -> None:
        """Write to a temporary file and link it to its name, which fails if that is taken."""
        path = self.root / name
        temporary = self._write_temporary(path, data)
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            logger.warning(
                "the file system of %s has no hard links: two writers may replace each other's "
                "snapshot; what they encoded is safe either way",
                self.root,
            )
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)

    def _write_temporary(self, path: Path, data: bytes) -> Path:
        _make_folder(path.parent)
        temporary = _temporary_path(path)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _replace(self, temporary: Path, path: Path) -> None:
        try:
            temporary.replace(path)
        finally:
            # Renaming one link of a file onto another of the same file does nothing.
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)

    def iter_objects(self, prefix: str, *, with_temporary: bool) -> Iterator[ObjectInfo]:
        """Yield all files; links are followed, each folder is entered once.

        Folders reached without a link come first, so that a file has the same name
        whether or not a link leads to it too.
        """
        pending = [(prefix, self.root / prefix if prefix else self.root)]
        linked: list[tuple[str, Path]] = []
        seen: set[tuple[int, int]] = set()
        while pending or linked:
            name, folder = pending.pop() if pending else linked.pop(0)
            try:
                status = folder.stat()
            except FileNotFoundError:
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
                child = f"{name}/{entry.name}" if name else entry.name
                if _is_folder(entry):
                    (linked if entry.is_symlink() else pending).append((child, Path(entry.path)))
                elif with_temporary or not entry.name.startswith(TEMPORARY_PREFIX):
                    yield from _entry_info(child, entry)

    def iter_folders(self, prefix: str) -> Iterator[str]:
        """Yield the last parts of the names of the folders in ``prefix``."""
        folder = self.root / prefix if prefix else self.root
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        yield from (entry.name for entry in entries if _is_folder(entry))

    def is_empty(self) -> bool:
        """Return whether there is nothing, what interrupted writes left behind aside."""
        try:
            with os.scandir(self.root) as entries:
                return all(entry.name.startswith(TEMPORARY_PREFIX) for entry in entries)
        except FileNotFoundError:
            return True

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what a listing would say of one file, or None if there is none."""
        try:
            status = (self.root / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _info(name, status) if stat_bits.S_ISREG(status.st_mode) else None

    def delete(self, names: Sequence[str]) -> None:
        """Delete files; one that is gone already is no error."""
        for name in names:
            (self.root / name).unlink(missing_ok=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _entry_info(name: str, entry: os.DirEntry[str]) -> Iterator[ObjectInfo]:
    try:
        status = entry.stat()
    except OSError:
        if entry.is_symlink():  # broken: the reader of this name will say so
            yield ObjectInfo(name=name, size_bytes=-1, modified_s=0.0, version="")
        return  # gone since it was listed
    # A pipe or device would block whoever opens it.
    if stat_bits.S_ISREG(status.st_mode):
        yield _info(name, status)


def _info(name: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(
        name=name,
        size_bytes=status.st_size,
        modified_s=status.st_mtime,
        version=str(status.st_mtime_ns),
    )


def _temporary_path(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")


def _make_folder(path: Path) -> None:
    """Create ``path`` and its parents, each one synced into the folder that holds it."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir(exist_ok=True)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; they order renames by themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
