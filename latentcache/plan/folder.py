"""Folder trees of images, with sidecar captions, class folders and ``metadata`` tables."""

import posixpath
from collections.abc import Iterator

from latentcache.core.media import SourceRef
from latentcache.core.rejects import Reject
from latentcache.plan.fields import Annotations, annotations_of, is_included
from latentcache.plan.listing import (
    MEDIA_EXTENSIONS,
    ListedMedia,
    ListingTotals,
    extension_of,
    portable_path,
)
from latentcache.plan.options import PlanOptions
from latentcache.plan.records import Record, iter_records
from latentcache.plan.walk import FoundFolder, iter_folders
from latentcache.storage import Folder

CAPTION_EXTENSION = ".txt"
METADATA_FILES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
"""The convention of Hugging Face's ImageFolder: ``file_name`` and any other fields."""


def iter_folder(root: Folder, options: PlanOptions, totals: ListingTotals) -> Iterator[ListedMedia]:
    """Yield every image and video below ``root``; videos are refused when they are probed.

    ``label`` is the name of the folder a file lies in, unless a metadata table says
    otherwise. A caption is the text file with the same stem.
    """
    tables: dict[str, dict[str, Annotations]] = {}
    for found in iter_folders(root):
        if found.problem:
            yield _unreadable(found.name + "/", f"folder cannot be read: {found.problem}")
            continue
        for file in METADATA_FILES:
            if file in found.files:
                tables[found.name] = _metadata(root, found.path(file), options, totals)
        near = {name: table for name, table in tables.items() if _holds(name, found.name)}
        yield from _iter_files(found, near, options, totals)


def _iter_files(
    found: FoundFolder,
    tables: dict[str, dict[str, Annotations]],
    options: PlanOptions,
    totals: ListingTotals,
) -> Iterator[ListedMedia]:
    captions = {file for file in found.files if extension_of(file) == CAPTION_EXTENSION}
    used = set()
    for file in found.files:
        path = found.path(file)
        if file in METADATA_FILES or file in captions:
            continue
        if not is_included(path, options):
            totals.ignored["(not included)"] += 1
            continue
        if not (options.any_extension or extension_of(file) in MEDIA_EXTENSIONS):
            totals.ignored[extension_of(file) or "(none)"] += 1
            continue
        caption = posixpath.splitext(file)[0] + CAPTION_EXTENSION
        used.add(caption)
        fields = _fields(path, found.name, tables)
        has_caption = caption in captions and "caption" not in fields
        yield _listed(found, file, fields, found.path(caption) if has_caption else "")
    if lost := len(captions - used):
        totals.ignored[CAPTION_EXTENSION] += lost


def _listed(found: FoundFolder, file: str, fields: Annotations, sidecar: str) -> ListedMedia:
    facts = found.stat(file)
    path = portable_path(found.path(file))
    if facts.problem:
        return _unreadable(path, f"file cannot be read: {facts.problem}")
    return ListedMedia(
        source=SourceRef(path=path, size_bytes=facts.size_bytes),
        version=facts.version,
        annotations=fields,
        sidecar=portable_path(sidecar),
    )


def _unreadable(path: str, reason: str) -> ListedMedia:
    return ListedMedia(
        source=SourceRef(path=portable_path(path)),
        reject=Reject(code="unreadable", stage="scan", reason=reason, is_transient=True),
    )


def _fields(path: str, folder: str, tables: dict[str, dict[str, Annotations]]) -> Annotations:
    """Return the annotations of one file; nearer metadata tables win."""
    fields: Annotations = {"label": posixpath.basename(folder)} if folder else {}
    for name in sorted(tables):
        fields |= tables[name].get(path, {})
    return fields


def _holds(ancestor: str, folder: str) -> bool:
    return not ancestor or folder == ancestor or folder.startswith(ancestor + "/")


def _metadata(
    root: Folder, name: str, options: PlanOptions, totals: ListingTotals
) -> dict[str, Annotations]:
    """Return the rows of a metadata table by path relative to the root."""
    folder = posixpath.dirname(name)
    rows: dict[str, Annotations] = {}
    for record in iter_records(root, name):
        fields = record.fields if isinstance(record, Record) else {}
        file = fields.get("file_name")
        if not isinstance(file, str):
            totals.warnings[f"rows of {portable_path(name)} without a file_name"] += 1
            continue
        path = posixpath.normpath(posixpath.join(folder, file))
        rows[path] = annotations_of(fields, options, leave_out={"file_name"})
    return rows
