"""A reserved range of addresses into which files are mapped at places of our choosing.

Nothing is readable until a file is put there, and no file descriptor stays open. Python's
own ``mmap`` cannot choose the address, so the C library's is called.
"""

import ctypes
import mmap
import os
import sys
import weakref
from pathlib import Path

from latentcache.core.errors import ShardCorruptError

LARGE_PAGE_BYTES = 2**21
"""Places are multiples of it, so that large tars can be served by large pages."""

_PROT_NONE, _PROT_READ = 0, 1
_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED = 0x01, 0x02, 0x10
_MAP_ANONYMOUS, _MAP_NORESERVE = 0x20, 0x4000
_MADV_HUGEPAGE = 14
_FAILED = ctypes.c_void_p(-1).value


_MAX_MAPS_PATH = Path("/proc/sys/vm/max_map_count")


class AddressRangeError(OSError):
    """The system gives no such range or takes no more maps; use maps one by one instead."""


def is_supported() -> bool:
    """Whether this system's ``mmap`` takes the flags above: 64-bit Linux."""
    return sys.platform == "linux" and sys.maxsize > 2**32


def max_maps() -> int | None:
    """Return how many maps the system allows a process, or None if it does not say."""
    try:
        return int(_MAX_MAPS_PATH.read_text())
    except (OSError, ValueError):
        return None


def memory_bytes() -> int:
    """Return how much memory the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return library


def wrong_size(path: Path, expected: int, found: int) -> ShardCorruptError:
    """Return the error of a tar whose size is not the one that was committed."""
    return ShardCorruptError(
        f"tar must have {expected} bytes, got {found} ({path}); run latentcache verify --repair"
    )


class AddressRange:
    """``num_bytes`` of addresses, all unreadable until files are mapped into them."""

    def __init__(self, num_bytes: int) -> None:
        """Reserve; takes no memory.

        Raises:
            AddressRangeError: There is no such range, or the system is not supported.
        """
        if not is_supported():
            raise AddressRangeError(f"address ranges need 64-bit Linux, got {sys.platform}")
        self._library = _library()
        self.num_bytes = num_bytes
        # A page more than asked for at either end makes room to align the start.
        length = num_bytes + LARGE_PAGE_BYTES
        flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE
        start = self._map(None, length, _PROT_NONE, flags, -1)
        self._release = weakref.finalize(self, self._library.munmap, start, length)
        self.address = -(-start // LARGE_PAGE_BYTES) * LARGE_PAGE_BYTES

    def put(
        self,
        path: Path,
        offset: int,
        size_bytes: int,
        *,
        length: int | None = None,
        in_large_pages: bool = False,
    ) -> None:
        """Map a whole file, read-only, at ``offset`` from the start.

        Args:
            path: Of the file.
            offset: Where in the range.
            size_bytes: That the file must have.
            length: Addresses taken; more than the file has, up to the next file, saves the
                system a map for the gap. Nothing can be read past the file's last page.
            in_large_pages: Have what is not in the page cache yet come in large pages, where the
                file system has them (ext4 from Linux 6.16, XFS); where not, the advice is
                refused and no loss. A single row then reads 2 MiB: for files that are to be
                read whole, and that memory has room for.

        Raises:
            ShardCorruptError: The file has another size: reading past its end would kill
                the process.
            FileNotFoundError: There is no such file.
            AddressRangeError: The process has as many maps as the system allows.
        """
        length = size_bytes if length is None else length
        assert 0 <= offset <= self.num_bytes - length, "outside the range"
        assert length >= size_bytes, "a file is mapped whole"
        assert offset % mmap.PAGESIZE == 0, "files are mapped at page boundaries"
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor).st_size
            if found != size_bytes:
                raise wrong_size(path, size_bytes, found)
            at = self.address + offset
            self._map(at, length, _PROT_READ, _MAP_SHARED | _MAP_FIXED, descriptor)
            if in_large_pages:
                self._library.madvise(at, length, _MADV_HUGEPAGE)
        finally:
            os.close(descriptor)

    def take_away(self, offset: int, length: int) -> None:
        """Make a mapped file's place unreadable again."""
        flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE | _MAP_FIXED
        self._map(self.address + offset, length, _PROT_NONE, flags, -1)

    def close(self) -> None:
        """Give the addresses back; any view of them must be gone."""
        self._release()

    def _map(self, at: int | None, length: int, protection: int, flags: int, file: int) -> int:
        found: int | None = self._library.mmap(at, length, protection, flags, file, 0)
        if found is None or found == _FAILED:
            number = ctypes.get_errno()
            raise AddressRangeError(number, f"{os.strerror(number)} ({length} bytes)")
        return found
