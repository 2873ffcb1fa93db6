"""The page cache: filled, emptied and looked at, without being root."""

import ctypes
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

CHUNK = 2**23
LOOKED_AT = 64


def files_of(folder: Path) -> list[Path]:
    """Return every file below ``folder``."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def fill(files: list[Path]) -> None:
    """Read every file once, anew: what a writer left lies in smaller pages than what is read."""
    drop(files)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.read(CHUNK):
                pass


def drop(files: list[Path]) -> None:
    """Ask the kernel to forget the files; dirty pages must be on disk before (``os.sync``)."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def resident_share(files: list[Path]) -> float:
    """Return the share of pages in memory, over some files if there are very many."""
    step = max(1, len(files) // LOOKED_AT)
    resident = pages = 0
    for flags in map(_residency, files[::step]):
        pages += len(flags)
        resident += sum(flag & 1 for flag in flags)
    return resident / max(1, pages)


def _residency(path: Path) -> bytes:
    size = path.stat().st_size
    if not size:
        return b""
    num_pages = -(-size // mmap.PAGESIZE)
    flags = (ctypes.c_ubyte * num_pages)()
    library = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE) as mapped:
        # A private map may be written to, which is how ctypes gets its address.
        start = ctypes.c_char.from_buffer(mapped)
        failed = library.mincore(ctypes.c_void_p(ctypes.addressof(start)), size, flags)
        del start
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return bytes(flags)


def iter_sizes(files: list[Path]) -> Iterator[int]:
    """Yield what each file takes on disk, hard links once."""
    seen = set()
    for path in files:
        stat = path.stat()
        if stat.st_ino not in seen:
            seen.add(stat.st_ino)
            yield stat.st_blocks * 512
