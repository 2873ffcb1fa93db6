"""A range of one object as a read-only file of its own: a whole file, or a member of a tar."""

import io
import os
from collections.abc import Callable
from typing import BinaryIO

from latentcache.storage.folder import Folder

PROGRESS_BYTES = 4 * 2**20
"""Progress is told about this often; telling it may cost 0.1 ms."""

_FIRST_BLOCK_BYTES = 64 * 2**10
"""One request of this size holds nearly every picture's header."""
_LARGEST_BLOCK_BYTES = 8 * 2**20
"""Who reads on and on gets blocks twice as large each time, up to this."""

Progress = Callable[[], None]


def _nobody() -> None:
    """Tell nobody."""


class _Span(io.RawIOBase):
    """Position and end of a range; what is read comes from ``_read_at``."""

    def __init__(self, size_bytes: int, on_progress: Progress | None) -> None:
        self.size_bytes = size_bytes
        self._position = self._told = 0
        self._on_progress = on_progress or _nobody

    def _read_at(self, position: int, length: int) -> bytes:
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}
        self._position = max(0, origin[whence] + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.size_bytes - self._position)
        length = left if size is None or size < 0 else min(size, left)
        data = self._read_at(self._position, length) if length else b""
        self._position += len(data)
        # Only bytes never seen before count: who reads in circles gets no further.
        if self._position >= self._told + PROGRESS_BYTES:
            self._told = self._position
            self._on_progress()
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # the protocol's Buffer is 3.12's
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class FileSpan(_Span):
    """A range of a local file; its position is its own, whoever shares the descriptor.

    Attributes:
        start: Where in the file it begins, in bytes.
        size_bytes: Of the range.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        start: int = 0,
        size_bytes: int,
        on_progress: Progress | None = None,
    ) -> None:
        """Take over a file.

        Args:
            file: Opened for reading; closed with this one.
            start: First byte of the range.
            size_bytes: Of the range.
            on_progress: Called each time some more MiB were read for the first time.
        """
        super().__init__(size_bytes, on_progress)
        self._file, self.start = file, start

    def fileno(self) -> int:
        """Return the descriptor of the whole file."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()

    def _read_at(self, position: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, self.start + position)


class ObjectSpan(_Span):
    """A range of an object on any storage, read by requests that grow while reading goes on."""

    def __init__(
        self,
        folder: Folder,
        name: str,
        *,
        start: int = 0,
        size_bytes: int,
        on_progress: Progress | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            folder: Of the object.
            name: Of the object.
            start: First byte of the range.
            size_bytes: Of the range.
            on_progress: As for ``FileSpan``.
        """
        super().__init__(size_bytes, on_progress)
        self._folder, self._name, self._start = folder, name, start
        self._block, self._block_at = b"", 0
        self._next_bytes = _FIRST_BLOCK_BYTES

    def _read_at(self, position: int, length: int) -> bytes:
        end = self._block_at + len(self._block)
        if not self._block_at <= position < end:
            goes_on = position == end and self._block
            grown = min(2 * self._next_bytes, _LARGEST_BLOCK_BYTES)
            self._next_bytes = grown if goes_on else _FIRST_BLOCK_BYTES
            first = self._start + position
            last = min(position + max(length, self._next_bytes), self.size_bytes)
            self._block = self._folder.read(self._name, start=first, end=self._start + last)
            self._block_at = position
        offset = position - self._block_at
        return self._block[offset : offset + length]
