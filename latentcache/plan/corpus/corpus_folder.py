"""Folder trees of images, with sidecar captions, class folders and ``metadata`` tables."""

import posixpath
from collections.abc import Iterator
from dataclasses import replace

from latentcache.core.media import SourceRef
from latentcache.core.rejects import Reject
from latentcache.plan.corpus.annotation_fields import Annotations, Noted, is_included
from latentcache.plan.corpus.metadata import (
    KOHYA_FILES,
    METADATA_FILES,
    TABLE_FILES,
    MetadataTable,
    read_metadata,
)
from latentcache.plan.corpus.role_sources import RoleFolders, parse_roles
from latentcache.plan.corpus.walk import FoundFolder, iter_folders, note_folder
from latentcache.plan.listing import (
    MEDIA_EXTENSIONS,
    ListedMedia,
    ListingTotals,
    extension_of,
    portable_path,
)
from latentcache.plan.plan_options import PlanOptions
from latentcache.storage import Folder

CAPTION_EXTENSIONS = (".txt", ".caption")
"""Of a caption beside its picture, the first one that is there is taken."""


def iter_folder(root: Folder, options: PlanOptions, totals: ListingTotals) -> Iterator[ListedMedia]:
    """Yield every image and video below ``root``; videos are refused when they are probed.

    ``label`` is the name of the folder a file lies in, unless a metadata table says
    otherwise. A caption is the text file with the same stem.
    """
    yield from _FolderListing(root, options, totals).media()


class _FolderListing:
    """One pass over a tree, with the tables met so far."""

    def __init__(self, root: Folder, options: PlanOptions, totals: ListingTotals) -> None:
        self._root, self._options, self._totals = root, options, totals
        self._tables: dict[str, list[MetadataTable]] = {}
        self._stems: set[str] = set()
        self._roles = RoleFolders(root, parse_roles(options.roles), totals.findings)

    def media(self) -> Iterator[ListedMedia]:
        """Yield the media of every folder, then count the rows that describe none."""
        findings = self._totals.findings
        for found in iter_folders(self._root):
            if self._roles.names.is_own(found.name):
                continue
            note_folder(found, self._totals)
            if found.problem:
                continue
            self._read_tables(found)
            yield from self._files(found)
        for table in (each for tables in self._tables.values() for each in tables):
            for path in table.left_over(self._stems):
                findings.add("row_without_file", f"{table.name}: {portable_path(path)}")
        self._roles.count_unused()

    def _read_tables(self, found: FoundFolder) -> None:
        names = [name for name in (*KOHYA_FILES, *METADATA_FILES) if name in found.files]
        if names:
            self._tables[found.name] = [
                read_metadata(self._root, found.path(name), self._options, self._totals)
                for name in names
            ]

    def _files(self, found: FoundFolder) -> Iterator[ListedMedia]:
        near = [
            table
            for name in sorted(self._tables)
            if _holds(name, found.name)
            for table in self._tables[name]
        ]
        has_stems = any(table.has_stems for table in near)
        captions = {file for file in found.files if is_caption(file)}
        beside = self._roles.beside(found)
        used: set[str] = set()
        ignored = self._totals.ignored
        for file in found.files:
            path = found.path(file)
            if file in TABLE_FILES or file in captions:
                continue
            extension = extension_of(file)
            if not (self._options.any_extension or extension in MEDIA_EXTENSIONS):
                ignored[extension or "(none)"] += 1
                continue
            if beside.has(file):
                continue
            mine = captions_of(file, captions) if captions else []
            used.update(mine)
            if not is_included(path, self._options):
                ignored["(not included)"] += 1
                self._pass_over(path, near)
                continue
            if has_stems:
                self._stems.add(posixpath.splitext(path)[0])
            fields = self._fields(path, found.name, near)
            roles = beside.of(file) | self._roles.entries_of(path)
            yield replace(self._listed(found, file, fields, mine), roles=roles)
        self._count_lost(found, captions - used)

    def _pass_over(self, path: str, tables: list[MetadataTable]) -> None:
        for table in tables:
            table.take(path, self._notes(table))

    def _fields(self, path: str, folder: str, tables: list[MetadataTable]) -> Annotations:
        """Return the annotations of one file; nearer metadata tables win."""
        fields: Annotations = {"label": posixpath.basename(folder)} if folder else {}
        for table in tables:
            fields |= table.take(path, self._notes(table))
        return fields

    def _notes(self, table: MetadataTable) -> Noted:
        return Noted(self._totals.findings, table.name)

    def _listed(
        self, found: FoundFolder, file: str, fields: Annotations, captions: list[str]
    ) -> ListedMedia:
        facts = found.stat(file)
        path = portable_path(found.path(file))
        if facts.problem:
            reason = f"file cannot be read: {facts.problem}"
            return ListedMedia(
                source=SourceRef(path=path),
                reject=Reject(code="unreadable", stage="scan", reason=reason, is_transient=True),
            )
        taken = captions[:1] if "caption" not in fields else []
        for further in captions[len(taken) :]:
            self._totals.findings.add("second_caption", portable_path(found.path(further)))
        return ListedMedia(
            source=SourceRef(path=path, size_bytes=facts.size_bytes),
            version=facts.version,
            annotations=fields,
            sidecar=portable_path(found.path(taken[0])) if taken else "",
            sidecar_facts=self._facts_of(found, taken),
        )

    def _facts_of(self, found: FoundFolder, captions: list[str]) -> tuple[int, str] | None:
        if self._root.is_local or not captions:
            return None  # a look at each is for those who need it
        facts = found.stat(captions[0])
        return facts.size_bytes, facts.version

    def _count_lost(self, found: FoundFolder, captions: set[str]) -> None:
        for file in sorted(captions):
            self._totals.findings.add("caption_without_picture", portable_path(found.path(file)))


def is_caption(file: str) -> bool:
    """Whether a file's name is that of a caption."""
    return extension_of(file) in CAPTION_EXTENSIONS


def is_taken(path: str, options: PlanOptions) -> bool:
    """Whether a file, neither caption nor table, is listed as a picture or video."""
    is_medium = options.any_extension or extension_of(path) in MEDIA_EXTENSIONS
    return is_medium and is_included(path, options)


def captions_of(file: str, captions: set[str]) -> list[str]:
    """Return the caption files of a picture: a.txt or a.caption, also a.jpg.txt."""
    stem = posixpath.splitext(file)[0]
    names = (base + extension for base in (stem, file) for extension in CAPTION_EXTENSIONS)
    return [name for name in names if name in captions]


def _holds(ancestor: str, folder: str) -> bool:
    return not ancestor or folder == ancestor or folder.startswith(ancestor + "/")
