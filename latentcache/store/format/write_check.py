"""Comparing what a store holds with what was meant: sizes and checksums of single objects."""

import hashlib
from pathlib import Path

from latentcache.core.errors import ShardCorruptError
from latentcache.storage import Folder
from latentcache.store.format.records import ObjectRef

READ_BACK_BYTES = 64 * 2**20
"""Remote objects up to this size are read back whole; larger ones at both ends."""

STALE_AFTER_S = 12 * 3600.0
"""Half of gc's grace: an older upload may be collected before a record names it."""

_CHUNK_BYTES = 2**20


def check_landed(folder: Folder, ref: ObjectRef, *, sent: Path | None = None) -> None:
    """Compare an object that was just written with what was meant.

    Local objects and remote ones up to ``READ_BACK_BYTES`` are read back whole. Larger
    remote ones are compared in size and, with ``sent`` at hand, at both ends: the client
    checksums every part on the way, so what is left to catch is a part or end lost.

    Raises:
        ShardCorruptError: They differ.
    """
    try:
        _check_landed(folder, ref, sent)
    except FileNotFoundError:  # gone since it was looked at: who wrote it slept for a day
        raise _not_landed(folder, ref, f"of {ref.size_bytes} bytes", "no object") from None


def _check_landed(folder: Folder, ref: ObjectRef, sent: Path | None) -> None:
    info = folder.stat(ref.name)
    found = info.size_bytes if info else None
    if found != ref.size_bytes:
        got = "no object" if found is None else f"{found} bytes"
        raise _not_landed(folder, ref, f"of {ref.size_bytes} bytes", got)
    if folder.is_local or ref.size_bytes <= READ_BACK_BYTES:
        sha256 = object_sha256(folder, ref.name)
        if sha256 != ref.sha256:
            raise _not_landed(folder, ref, f"of SHA-256 {ref.sha256}", sha256)
    elif sent is not None:
        for start in (0, ref.size_bytes - _CHUNK_BYTES):
            with sent.open("rb") as file:
                file.seek(start)
                expected = file.read(_CHUNK_BYTES)
            if folder.read(ref.name, start=start, end=start + len(expected)) != expected:
                raise _not_landed(folder, ref, "what was sent", f"other bytes from {start}")


def land_file(folder: Folder, name: str, path: Path) -> ObjectRef:
    """Upload a finished local file, compare what landed with it, and return its reference.

    Raises:
        StorageError: The store cannot be written.
        ShardCorruptError: What landed differs from what was sent.
    """
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    ref = ObjectRef(name=name, size_bytes=path.stat().st_size, sha256=sha256)
    folder.upload(name, path)
    try:
        check_landed(folder, ref, sent=path)
    except ShardCorruptError:
        folder.delete([name])  # nothing names it yet, and a listing would show it
        raise
    return ref


def object_sha256(folder: Folder, name: str) -> str:
    """Return the SHA-256 of an object, read in pieces."""
    digest = hashlib.sha256()
    with folder.open_read(name) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _not_landed(folder: Folder, ref: ObjectRef, rule: str, got: str) -> ShardCorruptError:
    return ShardCorruptError(
        f"object must be {rule} after writing, got {got} ({ref.name} in {folder.label}); "
        f"check the storage, then run it again"
    )
