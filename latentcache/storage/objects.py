"""Objects by name: what a listing says of one, which names are legal, what a backend does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

TEMPORARY_PREFIX = ".tmp."
"""Last part of the name of an object that is not there yet; listings leave them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """One object of a listing.

    Attributes:
        name: Relative to the folder, with ``/``.
        size_bytes: -1 if it cannot be known (a broken link).
        modified_s: Seconds since the epoch, by the storage's clock; 0.0 if unknown.
        version: An ETag, or the modification time in nanoseconds; "" if unknown.
    """

    name: str
    size_bytes: int
    modified_s: float
    version: str

    @property
    def is_temporary(self) -> bool:
        """Whether this is what an interrupted write left behind."""
        return self.name.rpartition("/")[2].startswith(TEMPORARY_PREFIX)


def checked_name(name: str) -> str:
    """Return ``name`` if it stays inside its folder.

    Raises:
        ValueError: It is absolute, empty, or has an empty, ``.`` or ``..`` part.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in name:
        raise ValueError(
            f"name must be relative and stay inside its folder, got {name!r}; remove the "
            f"empty, '.' and '..' parts"
        )
    return name


class Backend(Protocol):
    """What a kind of storage does; names are checked and failures retried above it."""

    def read(self, name: str, start: int | None, end: int | None) -> bytes:
        """Return bytes ``[start, end)``."""
        ...

    def open_read(self, name: str) -> BinaryIO:
        """Return a seekable file."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a whole object; it becomes visible at once or not at all."""
        ...

    def upload(self, name: str, path: Path) -> None:
        """Write a whole object from a local file."""
        ...

    def put_if_absent(self, name: str, data: bytes) -> None:
        """Write a whole object unless one is there, in which case some OSError is raised."""
        ...

    def iter_objects(self, prefix: str, *, with_temporary: bool) -> Iterator[ObjectInfo]:
        """Yield all objects below the folder ``prefix``, in no particular order."""
        ...

    def iter_folders(self, prefix: str) -> Iterator[str]:
        """Yield the last parts of the names of the folders in ``prefix``."""
        ...

    def is_empty(self) -> bool:
        """Return whether there is nothing, what interrupted writes left behind aside."""
        ...

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what a listing would say of one object, or None if there is none."""
        ...

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; one that is gone already is no error."""
        ...
