"""WebDataset tars: samples are members that share a name up to its first dot.

Only headers are read, and the small members (captions, labels); a picture is noted by
offset and size. No member is ever extracted or followed as a path.
"""

import json
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from latentcache.core.media import SourceRef
from latentcache.core.rejects import Reject
from latentcache.plan.fields import Annotations, annotations_of, is_included
from latentcache.plan.listing import (
    MEDIA_EXTENSIONS,
    ListedMedia,
    ListingTotals,
    bad_record,
    extension_of,
    is_hidden,
    portable_path,
    storable_text,
)
from latentcache.plan.options import PlanOptions
from latentcache.plan.walk import iter_folders
from latentcache.storage import Folder

TAR_EXTENSION = ".tar"
MAX_FIELD_BYTES = 2**20
_BLOCK_BYTES = 512
_MAX_GROUP_MEMBERS = 1000
_FIELD_EXTENSIONS = ("txt", "json", "cls")


def iter_tars(
    root: Folder, options: PlanOptions, totals: ListingTotals, *, only: str = ""
) -> Iterator[ListedMedia]:
    """Yield the pictures in the tar ``only``, or in all tars below ``root``.

    A damaged tar costs the members after the damage and one reject that says so.
    """
    if only:
        yield from _iter_tar(root, only, options, totals)
        return
    for found in iter_folders(root):
        if found.problem:
            totals.warnings[f"folder {portable_path(found.name)}: {found.problem}"] += 1
        for file in found.files:
            name = found.path(file)
            if extension_of(file) == TAR_EXTENSION and is_included(name, options):
                yield from _iter_tar(root, name, options, totals)
            else:
                totals.ignored[extension_of(file) or "(none)"] += 1


def _iter_tar(
    root: Folder, name: str, options: PlanOptions, totals: ListingTotals
) -> Iterator[ListedMedia]:
    facts = root.stat(name)
    if facts is None:
        yield _damaged(name, "unreadable", "the tar is missing or not a regular file")
        return
    path = portable_path(name)
    seen: set[str] = set()
    try:
        with root.open_read(name) as file:
            reader = _TarReader(file, facts.size_bytes)
            for group in _iter_groups(reader):
                yield from _Group(path, facts.version, group, options, totals).media(reader, seen)
            if reader.problem:
                yield _damaged(name, "bad_record", reader.problem)
    except OSError as error:
        words = (error.strerror or type(error).__name__).lower()
        yield _damaged(name, "unreadable", f"reading the tar failed: {words}")


def _damaged(name: str, code: str, reason: str) -> ListedMedia:
    is_transient = code == "unreadable"
    reject = Reject(code=code, stage="scan", reason=reason, is_transient=is_transient)
    return ListedMedia(source=SourceRef(path=portable_path(name)), reject=reject)


class _TarReader:
    """The members of one tar up to its end or its first damage.

    Attributes:
        problem: What ended the reading early; empty if nothing did.
    """

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file, self._size_bytes = file, size_bytes
        self.problem = ""

    def members(self) -> Iterator[tuple[int, tarfile.TarInfo]]:
        """Yield (index, regular member); a payload that ends early is the last one."""
        try:
            with tarfile.open(fileobj=self._file, mode="r:", errorlevel=0) as tar:
                yield from self._members(tar)
        except tarfile.TarError as error:
            if self._size_bytes:
                self.problem = f"the tar is damaged ({error}); members after the damage are lost"
            else:
                self.problem = "the tar has no bytes"

    def _members(self, tar: tarfile.TarFile) -> Iterator[tuple[int, tarfile.TarInfo]]:
        index, end = 0, 0
        # tarfile remembers every member; a tar may have millions.
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # absent from the stubs
            end = tar.offset
            if member.isreg() and not member.issparse():
                yield index, member
            index += 1
        self._check_end(end)

    def _check_end(self, end: int) -> None:
        """Note damage in the middle: tarfile ends without a word at a header it cannot read."""
        self._file.seek(min(end, self._size_bytes))
        block = self._file.read(_BLOCK_BYTES)
        if block.strip(b"\0"):
            self.problem = (
                f"the tar is damaged at byte {end} of {self._size_bytes}; "
                "members after that are lost"
            )

    def read(self, member: tarfile.TarInfo) -> bytes | None:
        """Return a small member's bytes, or None if it is too large or not all there."""
        if member.size > MAX_FIELD_BYTES:
            return None
        before = self._file.tell()
        self._file.seek(member.offset_data)
        data = self._file.read(member.size)
        self._file.seek(before)
        return data if len(data) == member.size else None

    def holds(self, member: tarfile.TarInfo) -> bool:
        """Whether the payload ends within the file."""
        return member.offset_data + member.size <= self._size_bytes


_Members = list[tuple[int, tarfile.TarInfo]]


def _iter_groups(reader: _TarReader) -> Iterator[_Members]:
    """Yield runs of members that share a name up to the first dot of its last part."""
    group: _Members = []
    for index, member in reader.members():
        if group and (
            _split(member.name)[0] != _split(group[0][1].name)[0]
            or len(group) >= _MAX_GROUP_MEMBERS
        ):
            yield group
            group = []
        group.append((index, member))
    if group:
        yield group


def _split(name: str) -> tuple[str, str]:
    """Return (sample name, lower-case extension) by the rule of the webdataset library."""
    folder, slash, last = name.rpartition("/")
    stem, _, extension = last.partition(".")
    return folder + slash + stem, extension.lower()


class _Group:
    """One sample's members."""

    def __init__(
        self,
        path: str,
        version: str,
        members: _Members,
        options: PlanOptions,
        totals: ListingTotals,
    ) -> None:
        self._path, self._version = path, version
        self._members, self._options, self._totals = members, options, totals

    def media(self, reader: _TarReader, seen: set[str]) -> Iterator[ListedMedia]:
        """Yield the sample's pictures; usually there is one."""
        pictures = []
        fields: Annotations = {}
        for index, member in self._members:
            extension = _split(member.name)[1]
            if is_hidden(member.name.removeprefix("./")):
                self._totals.ignored["(hidden)"] += 1
            elif extension_of(member.name) in MEDIA_EXTENSIONS:
                pictures.append((index, member))
            elif extension in _FIELD_EXTENSIONS:
                fields |= self._fields(extension, reader.read(member))
            else:
                self._totals.ignored[f".{extension}" if extension else "(none)"] += 1
        for index, member in pictures:
            yield self._listed(index, member, fields, reader, seen)

    def _fields(self, extension: str, data: bytes | None) -> Annotations:
        text = data.decode("utf-8-sig", "replace").strip() if data else ""
        if not text:
            return {}
        if extension == "txt":
            return {"caption": storable_text(text)}
        if extension == "cls":
            return {"label": int(text) if text.isdecimal() else storable_text(text)}
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            self._totals.warnings[f"{self._path}: members that are not JSON objects"] += 1
            return {}
        return annotations_of(fields, self._options)

    def _listed(
        self,
        index: int,
        member: tarfile.TarInfo,
        fields: Annotations,
        reader: _TarReader,
        seen: set[str],
    ) -> ListedMedia:
        name = portable_path(member.name)
        reject = None if reader.holds(member) else bad_record("the tar ends before the picture")
        window = ""
        if name in seen:
            window = f"repeat:{index}"
            reject = Reject(
                code="duplicate", stage="scan", reason="a member of that name came before"
            )
        seen.add(name)
        return ListedMedia(
            source=SourceRef(
                path=self._path,
                member=name,
                offset_bytes=member.offset_data,
                size_bytes=member.size,
            ),
            version=self._version,
            annotations=fields,
            position=index,
            is_member=True,
            reject=reject,
            window=window,
        )
