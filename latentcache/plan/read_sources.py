"""Reading the bytes of planned samples: files, tar members by range, Parquet cells by row.

A member's name is never followed as a path: a tar is read by offset and size, a Parquet
file by row number.
"""

import os
import posixpath
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from latentcache.core.errors import ConfigError, MediaError
from latentcache.core.media import SourceRef
from latentcache.plan.listing import file_name
from latentcache.plan.tables.cells import CellReader
from latentcache.storage import Folder

MAX_SOURCE_BYTES = 2 * 2**30
"""A larger picture or cell is refused before it is read; videos are opened (``plan.opening``)."""

NUM_REMOTE_READERS = 8


def read_source(root: Folder, source: SourceRef) -> bytes:
    """Return the bytes of one sample.

    Raises:
        MediaError: ``unreadable``, ``empty``, ``truncated`` or ``unsupported`` (too large).
    """
    data = read_sources(root, [source])[0]
    if isinstance(data, MediaError):
        raise data
    return data


def read_sources(root: Folder, sources: Sequence[SourceRef]) -> list[bytes | MediaError]:
    """Return the bytes of each sample, or why they cannot be had, in the order asked for.

    The cells of one Parquet file are read together; a remote root is read by several
    threads.
    """
    results: dict[int, bytes | MediaError] = {}
    files: dict[str, list[int]] = defaultdict(list)
    plain = []
    for index, source in enumerate(sources):
        if is_cell(source):
            files[source.path].append(index)
        else:
            plain.append(index)
    if root.is_local or len(plain) < 2:
        results.update((index, _read_plain(root, sources[index])) for index in plain)
    else:
        with ThreadPoolExecutor(NUM_REMOTE_READERS) as pool:
            found = pool.map(lambda index: _read_plain(root, sources[index]), plain)
            results.update(zip(plain, found, strict=True))
    for path, indices in files.items():
        cells = _read_cells(root, path, [sources[index].member for index in indices])
        results.update((index, cells[sources[index].member]) for index in indices)
    return [results[index] for index in range(len(sources))]


def locate(root: Folder, path: str) -> tuple[Folder, str]:
    """Return the folder and the name in it of a listed path.

    Paths relative to the root stay in it. A manifest may also hold URLs, absolute
    paths and paths that lead out of the root; these were the user's to write.
    """
    name = file_name(path)
    is_url = "://" in name
    if not is_url and not name.startswith(("/", "../")):
        return root, name
    if not is_url and not name.startswith("/"):
        name = _joined(root.url, name)
    parent, _, last = name.rpartition("/")
    return Folder.open(parent or "/"), last


def _joined(url: str, name: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    return scheme + separator + posixpath.normpath(posixpath.join(rest, name))


def is_cell(source: SourceRef) -> bool:
    """Return whether a sample is a cell of a Parquet file, which is read by row."""
    return bool(source.member) and source.offset_bytes < 0


def _read_plain(root: Folder, source: SourceRef) -> bytes | MediaError:
    if source.size_bytes > MAX_SOURCE_BYTES:
        return _too_large(source.size_bytes)
    try:
        folder, name = locate(root, source.path)
        if source.offset_bytes >= 0:
            end = source.offset_bytes + source.size_bytes
            data = folder.read(name, start=source.offset_bytes, end=end)
        else:
            data = _read_whole(folder, name)
    except MediaError as error:
        return error
    except (OSError, ValueError, ConfigError) as error:
        return read_failure(error)
    if source.offset_bytes >= 0 and len(data) != source.size_bytes:
        return MediaError(
            "truncated", f"the tar ends {source.size_bytes - len(data)} bytes before the member"
        )
    return data or MediaError("empty", "the file has no bytes")


def _read_whole(folder: Folder, name: str) -> bytes:
    if folder.is_local:
        with folder.open_read(name) as file:
            data = file.read(MAX_SOURCE_BYTES + 1)
    else:
        facts = folder.stat(name)
        if facts is not None and facts.size_bytes > MAX_SOURCE_BYTES:
            raise _too_large(facts.size_bytes)
        data = folder.read(name)
    if len(data) > MAX_SOURCE_BYTES:
        raise _too_large(len(data))
    return data


def _read_cells(root: Folder, path: str, members: list[str]) -> dict[str, bytes | MediaError]:
    results: dict[str, bytes | MediaError] = {}
    with _readers_lock:
        for member in sorted(set(members), key=_row_of):
            try:
                data = _cell_reader(root, path).read(member)
            except (OSError, ValueError, ConfigError, pa.ArrowException) as error:
                results[member] = read_failure(error)
            else:
                results[member] = data or MediaError("empty", "the cell has no bytes")
    return results


def _row_of(member: str) -> tuple[str, int]:
    number, _, column = member.partition("@")
    return column, int(number) if number.isdecimal() else -1


# Samples are asked for a few at a time and in order: the next call goes on where this one
# ended, instead of decoding a row group from its start again.
_readers: "OrderedDict[tuple[Folder, str, str, int], CellReader]" = OrderedDict()
_readers_lock = threading.Lock()
_MAX_READERS = 4


def _cell_reader(root: Folder, path: str) -> CellReader:
    folder, name = locate(root, path)
    facts = folder.stat(name)
    if facts is None:
        raise FileNotFoundError(name)
    # A reader does not survive a fork, nor a file that was replaced.
    key = (folder, name, facts.version, os.getpid())
    if key not in _readers:
        _readers[key] = CellReader(folder.open_read(name))
        while len(_readers) > _MAX_READERS:
            _readers.popitem(last=False)[1].close()
    _readers.move_to_end(key)
    return _readers[key]


def _too_large(size_bytes: int) -> MediaError:
    return MediaError(
        "unsupported", f"the file has {size_bytes / 2**30:.1f} GiB, the limit is 2 GiB"
    )


def read_failure(error: Exception) -> MediaError:
    """Return why bytes cannot be had; holds no path, for a reason must not name one."""
    if isinstance(error, FileNotFoundError):
        return MediaError("unreadable", "the file is missing")
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return MediaError("unreadable", "there is a folder where the file should be")
    if isinstance(error, OSError):
        words = (error.strerror or type(error).__name__).lower()
        return MediaError("unreadable", f"reading it failed: {words}", is_transient=True)
    return MediaError("unreadable", "its name or its container cannot be used")
