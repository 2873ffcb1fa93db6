"""A remote object as a file whose reads are tried again, as those of whole objects are."""

import io
from collections.abc import Callable
from typing import BinaryIO

Retried = Callable[[Callable[[], bytes]], bytes]


class RetriedFile(io.RawIOBase):
    """Reads on from where it was, however often the storage fails in between.

    The client asks for the version that it has opened: an object that was replaced since is an
    error, never a mixture.
    """

    def __init__(self, file: BinaryIO, retried: Retried) -> None:
        """Take over an open file.

        Args:
            file: Of the client; closed with this one.
            retried: Runs a read until it succeeds or is given up.
        """
        self._file, self._retried = file, retried

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, which reads nothing, and return it."""
        return self._file.seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        """Return the next ``size`` bytes, or all that are left."""
        position = self._file.tell()

        def once() -> bytes:
            self._file.seek(position)
            return self._file.read(-1 if size is None else size)

        return self._retried(once)

    def readall(self) -> bytes:
        """Return all that is left."""
        return self.read()

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # the protocol's Buffer is 3.12's
        """Fill a buffer and return how many bytes that took."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the client's file too."""
        self._file.close()
        super().close()
