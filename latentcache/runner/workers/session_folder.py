"""Where a Ray that starts here keeps its session, and whether there is room for it."""

import os
import shutil
import tempfile
from pathlib import Path

from latentcache.core.errors import RunError

_MIN_BYTES = 64 * 10**6
"""Logs, sockets and port files; with less, Ray waits half a minute for a file it cannot write."""


def session_folder() -> Path:
    """Return the folder that Ray takes: it reads TMPDIR without asking if it can be written."""
    given = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR")
    return Path(given or tempfile.gettempdir())


def free_text() -> str:
    """Return the folder and its free space, or why that is not known."""
    folder = session_folder()
    try:
        return f"{folder}: {shutil.disk_usage(folder).free / 1e9:.1f} GB free"
    except OSError as error:
        return f"{folder}: {(error.strerror or str(error)).lower()}"


def check_session_folder() -> None:
    """Refuse to start Ray where its session has no room.

    Raises:
        RunError: The folder cannot be made or written, or is full.
    """
    folder = session_folder()
    # Ray makes what is missing of it.
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    problem = ""
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        problem = "cannot be written"
    elif (free := shutil.disk_usage(there).free) < _MIN_BYTES:
        problem = f"has {free / 1e6:.1f} MB free"
    if problem:
        raise RunError(
            f"Ray needs a folder with {_MIN_BYTES // 10**6} MB for its session, got {folder}, "
            f"which {problem}; make room there, or set RAY_TMPDIR to another"
        )
