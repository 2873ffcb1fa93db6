"""Scratch files that say whether their writer lives: what a killed run leaves, the next one takes.

A writer holds a shared lock on its file for as long as it needs it, and the system lets go of
the lock when the process ends, however it ends.
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from latentcache.core.seeds import new_write_id
from latentcache.storage.objects import TEMPORARY_PREFIX

_PREFIX = f"{TEMPORARY_PREFIX}unit."
_MIN_AGE_S = 60.0
"""Younger files may belong to a writer that has not locked its own yet."""


def scratch_path(folder: Path, name: str) -> Path:
    """Return a new path for the growing tar of a unit."""
    return folder / f"{_PREFIX}{name}.{new_write_id()}"


class ScratchLock:
    """Marks a scratch file as in use until it is closed or the process ends."""

    def __init__(self, path: Path) -> None:
        """Lock ``path``; where the file system knows no locks, nothing is marked."""
        self._descriptor = os.open(path, os.O_RDONLY)
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def close(self) -> None:
        """Let go."""
        os.close(self._descriptor)


def remove_dead_scratch(folder: Path) -> int:
    """Remove scratch files whose writers are gone, and return how many bytes they held.

    A file whose lock cannot be had, or is not known to the file system, is left to ``gc``.
    """
    num_bytes = 0
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            num_bytes += _remove_if_dead(path)
    return num_bytes


def _remove_if_dead(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR)
    try:
        status = os.fstat(descriptor)
        if time.time() - status.st_mtime < _MIN_AGE_S:
            return 0
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        return status.st_size
    finally:
        os.close(descriptor)
