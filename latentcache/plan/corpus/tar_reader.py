"""The members of one tar, by header: offsets and sizes, links resolved, damage seen.

No member is ever extracted, and no name is followed as a path outside the tar.
"""

import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK_BYTES = 512
_TAIL_BYTES = 2**20
_MAX_LINKS = 40
"""As many symbolic links in a row as Linux follows."""

COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
"""First bytes of what compresses tars."""
COMPRESSION_HEAD_BYTES = 6


def compression_of(head: bytes) -> str:
    """Return what a file that begins so is compressed with; empty if it is not."""
    found = (name for magic, name in COMPRESSIONS.items() if head.startswith(magic))
    return next(found, "")


@dataclass(frozen=True, slots=True)
class Member:
    """One member that has a payload, or a name that should have one.

    Attributes:
        index: Of the member in the tar.
        name: As the tar has it.
        offset_bytes: Of the payload; of a link, of what it leads to.
        size_bytes: Of the payload.
        problem: Why it has none, if so.
    """

    index: int
    name: str
    offset_bytes: int = -1
    size_bytes: int = -1
    problem: str = ""


class TarReader:
    """The members of one tar up to its end or its first damage.

    Attributes:
        problem: What ended the reading early; empty if nothing did.
    """

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file, self._size_bytes = file, size_bytes
        self._targets: dict[str, tarfile.TarInfo] | None = None
        self.problem = ""

    def members(self) -> Iterator[Member]:
        """Yield every member but folders; of tars written one after the other, all of theirs."""
        for index, found in enumerate(self._headers()):
            if found.isreg() and not found.issparse():
                yield Member(index, found.name, found.offset_data, found.size)
            elif found.islnk() or found.issym():
                yield self._followed(index, found)
            elif not found.isdir():
                what = "a sparse file" if found.issparse() else "no regular file"
                yield Member(index, found.name, problem=f"the member is {what}")

    def _headers(self) -> Iterator[tarfile.TarInfo]:
        start: int | None = 0
        while start is not None:
            self._file.seek(start)
            end = start
            try:
                with tarfile.open(fileobj=self._file, mode="r:", errorlevel=0) as tar:
                    # tarfile remembers every member; a tar may have millions.
                    while (member := tar.next()) is not None:
                        tar.members = []  # type: ignore[attr-defined]  # absent from the stubs
                        end = tar.offset
                        yield member
            except tarfile.TarError as error:
                what = f"it is damaged ({error}); members after the damage are lost"
                self.problem = what if self._size_bytes else "it has no bytes"
                return
            start = self._next_archive(end)

    def _next_archive(self, end: int) -> int | None:
        """Return where a further tar begins after the end mark of one, as ``tar -i`` reads it.

        tarfile ends without a word at a header it cannot read, which is damage.
        """
        self._file.seek(min(end, self._size_bytes))
        if self._file.read(BLOCK_BYTES).strip(b"\0"):
            self._note_damage(end)
            return None
        at = end + BLOCK_BYTES
        while at < self._size_bytes:
            self._file.seek(at)
            tail = self._file.read(_TAIL_BYTES)
            if not tail:
                return None
            if rest := tail.lstrip(b"\0"):
                start = (at + len(tail) - len(rest)) // BLOCK_BYTES * BLOCK_BYTES
                if self._is_header(start):
                    return start
                self._note_damage(start)
                return None
            at += len(tail)
        return None

    def _is_header(self, start: int) -> bool:
        self._file.seek(start)
        try:
            tarfile.TarInfo.frombuf(self._file.read(BLOCK_BYTES), "utf-8", "surrogateescape")
        except tarfile.TarError:
            return False
        return True

    def _note_damage(self, at: int) -> None:
        self.problem = (
            f"it is damaged at byte {at} of {self._size_bytes}; members after that are lost"
        )

    def _followed(self, index: int, link: tarfile.TarInfo) -> Member:
        """Return the member that a link leads to, under the link's own name."""
        if self._targets is None:
            self._targets = self._read_targets()
        found: tarfile.TarInfo | None = link
        for _ in range(_MAX_LINKS):
            if found is None or not (found.islnk() or found.issym()):
                break
            folder = posixpath.dirname(found.name) if found.issym() else ""
            found = self._targets.get(_plain(posixpath.join(folder, found.linkname)))
        if found is None or not found.isreg() or found.issparse():
            kind = "hard" if link.islnk() else "symbolic"
            return Member(
                index, link.name, problem=f"the member is a {kind} link to no file of the tar"
            )
        return Member(index, link.name, found.offset_data, found.size)

    def _read_targets(self) -> dict[str, tarfile.TarInfo]:
        """Return all members by name: read only in tars that have links, which may lead ahead."""
        again = TarReader(self._file, self._size_bytes)
        before = self._file.tell()
        targets = {_plain(found.name): found for found in again._headers()}
        self._file.seek(before)
        return targets

    def read(self, member: Member, limit_bytes: int) -> bytes | None:
        """Return a small member's bytes, or None if it is too large or not all there."""
        if member.problem or member.size_bytes > limit_bytes:
            return None
        before = self._file.tell()
        self._file.seek(member.offset_bytes)
        data = self._file.read(member.size_bytes)
        self._file.seek(before)
        return data if len(data) == member.size_bytes else None

    def holds(self, member: Member) -> bool:
        """Whether the payload ends within the file."""
        return member.offset_bytes + member.size_bytes <= self._size_bytes


def _plain(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")
