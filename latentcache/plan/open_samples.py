"""One sample as a file, in bounded memory: looked into, or read whole for its digest.

A video may be larger than memory. On this machine it is read where it lies; from elsewhere it
is copied to a temporary file first, because FFmpeg goes back and forth.
"""

import io
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import BinaryIO, NamedTuple, cast

from latentcache.core.errors import ConfigError, MediaError
from latentcache.core.media import SourceRef
from latentcache.plan.read_sources import is_cell, locate, read_failure, read_source
from latentcache.storage import FileSpan, Folder, ObjectSpan, Progress, map_ahead
from latentcache.store.format import SOURCE_DIGEST_BYTES

_BLOCK_BYTES = 4 * 2**20
_NUM_READERS = 4
"""Of a remote file; twice as many blocks may be in memory."""

_SETTLED_S = 2.0
"""A file changed more recently may change again without a clock telling."""
_MAX_DIGESTS = 1024


@contextmanager
def peek_source(
    root: Folder, source: SourceRef, *, on_progress: Progress | None = None
) -> Iterator[tuple[BinaryIO, int]]:
    """Yield a seekable file over one sample, and its size in bytes; reads what is asked for.

    Args:
        root: Of the corpus.
        source: The sample.
        on_progress: Called each time some more MiB were read for the first time.

    Raises:
        MediaError: ``unreadable``, ``empty`` or ``truncated``.
    """
    file: BinaryIO
    if is_cell(source):
        data = read_source(root, source)
        file, size_bytes = io.BytesIO(data), len(data)
    else:
        try:
            folder, name = locate(root, source.path)
            span = _span(folder, name, source, on_progress)
        except (OSError, ValueError, ConfigError) as error:
            raise read_failure(error) from error
        file, size_bytes = cast(BinaryIO, span), span.size_bytes
    with file:
        if size_bytes == 0:
            raise MediaError("empty", "the file has no bytes")
        yield file, size_bytes


@contextmanager
def open_source(
    root: Folder, source: SourceRef, *, on_progress: Progress | None = None
) -> Iterator[tuple[BinaryIO, int, bytes]]:
    """Yield a local, seekable file over one sample, its size in bytes, and its bytes' blake2b-128.

    The bytes are read through once, a few at a time; those of another machine are copied to a
    temporary file on the way. What a process opened last it opens again for nothing, for as
    long as it has not changed.

    Args:
        root: Of the corpus.
        source: The sample.
        on_progress: Called each time some more MiB were read for the first time.

    Raises:
        MediaError: ``unreadable``, ``empty`` or ``truncated``.
    """
    try:
        file, digest = _opened(root, source, on_progress)
    except (OSError, ValueError, ConfigError) as error:
        raise read_failure(error) from error
    with file:
        size_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        if size_bytes == 0:
            raise MediaError("empty", "the file has no bytes")
        yield file, size_bytes, digest


def _opened(
    root: Folder, source: SourceRef, on_progress: Progress | None
) -> tuple[BinaryIO, bytes]:
    if is_cell(source):
        data = read_source(root, source)
        return io.BytesIO(data), blake2b(data, digest_size=SOURCE_DIGEST_BYTES).digest()
    folder, name = locate(root, source.path)
    if not folder.is_local:
        return _spilled(folder, name, source, on_progress)
    span = _local_span(folder, name, source, on_progress)
    try:
        return cast(BinaryIO, span), _digest_of(span, on_progress)
    except BaseException:
        span.close()
        raise


def _span(
    folder: Folder, name: str, source: SourceRef, on_progress: Progress | None
) -> FileSpan | ObjectSpan:
    if folder.is_local:
        return _local_span(folder, name, source, on_progress)
    start, size_bytes = max(0, source.offset_bytes), source.size_bytes
    if size_bytes < 0:
        size_bytes, _ = _facts(folder, name)
    return ObjectSpan(folder, name, start=start, size_bytes=size_bytes, on_progress=on_progress)


def _local_span(
    folder: Folder, name: str, source: SourceRef, on_progress: Progress | None
) -> FileSpan:
    file = folder.open_read(name)
    found_bytes = os.fstat(file.fileno()).st_size
    start = max(0, source.offset_bytes)
    size_bytes = source.size_bytes if source.offset_bytes >= 0 else found_bytes
    if start + size_bytes > found_bytes:
        file.close()
        raise MediaError(
            "truncated", f"the tar ends {start + size_bytes - found_bytes} bytes before the member"
        )
    return FileSpan(file, start=start, size_bytes=size_bytes, on_progress=on_progress)


def _facts(folder: Folder, name: str) -> tuple[int, str]:
    """Return an object's size in bytes and its version."""
    facts = folder.stat(name)
    if facts is None:
        raise FileNotFoundError(name)
    return facts.size_bytes, facts.version


# Clips of one long video are decoded by several tasks of the same worker.
_digests: "OrderedDict[tuple[int, ...], bytes]" = OrderedDict()
_lock = threading.Lock()


def _digest_of(span: FileSpan, on_progress: Progress | None) -> bytes:
    status = os.fstat(span.fileno())
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    key = (*identity, status.st_ctime_ns, span.start, span.size_bytes)
    with _lock:
        if key in _digests:
            return _digests[key]
    digest = blake2b(digest_size=SOURCE_DIGEST_BYTES)
    for start in range(0, span.size_bytes, _BLOCK_BYTES):
        length = min(_BLOCK_BYTES, span.size_bytes - start)
        block = os.pread(span.fileno(), length, span.start + start)
        if len(block) != length:
            raise _changed()
        digest.update(block)
        if on_progress is not None:
            on_progress()
    if status.st_ctime < time.time() - _SETTLED_S:
        with _lock:
            _digests[key] = digest.digest()
            while len(_digests) > _MAX_DIGESTS:
                _digests.popitem(last=False)
    return digest.digest()


class _Spool(NamedTuple):
    """The remote sample that this process copied last."""

    key: tuple[str, str, str, int, int]
    file: BinaryIO
    digest: bytes


_kept: list[_Spool] = []


def _spilled(
    folder: Folder, name: str, source: SourceRef, on_progress: Progress | None
) -> tuple[BinaryIO, bytes]:
    """Return a remote sample as a local file without a name, and its digest."""
    object_bytes, version = _facts(folder, name)
    start = max(0, source.offset_bytes)
    size_bytes = source.size_bytes if source.offset_bytes >= 0 else object_bytes
    key = (folder.url, name, version, start, size_bytes)
    with _lock:
        if not (version and _kept and _kept[0].key == key):
            while _kept:  # its room may be needed
                _kept.pop().file.close()
            _kept.append(_Spool(key, *_copied(folder, name, (start, size_bytes), on_progress)))
        spool = _kept[0]
        copy = os.fdopen(os.dup(spool.file.fileno()), "rb")
    span = FileSpan(copy, size_bytes=size_bytes, on_progress=on_progress)
    return cast(BinaryIO, span), spool.digest


def _copied(
    folder: Folder, name: str, place: tuple[int, int], on_progress: Progress | None
) -> tuple[BinaryIO, bytes]:
    """Copy a stretch of an object, given as its first byte and its size."""
    start, size_bytes = place
    digest = blake2b(digest_size=SOURCE_DIGEST_BYTES)
    file = cast(BinaryIO, tempfile.TemporaryFile(prefix="latentcache-"))  # noqa: SIM115  kept
    try:
        for block in map_ahead(
            lambda first: folder.read(
                name, start=first, end=min(first + _BLOCK_BYTES, start + size_bytes)
            ),
            range(start, start + size_bytes, _BLOCK_BYTES),
            num_threads=_NUM_READERS,
        ):
            digest.update(block)
            file.write(block)
            if on_progress is not None:
                on_progress()
        if file.tell() != size_bytes:
            raise _changed()
        file.flush()
    except BaseException:
        file.close()
        raise
    return file, digest.digest()


def _changed() -> MediaError:
    return MediaError("unreadable", "the file grew shorter while it was read", is_transient=True)
