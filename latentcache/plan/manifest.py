"""Parquet, JSONL and CSV manifests: one row per picture, by path or with its bytes.

Rows are numbered from 0 in Parquet and from 1 in text files.
"""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.core.media import SourceRef
from latentcache.plan.cells import bytes_column, cell_member
from latentcache.plan.fields import annotations_of, check_given_columns, is_included
from latentcache.plan.listing import (
    ListedMedia,
    ListingTotals,
    bad_record,
    extension_of,
    portable_path,
)
from latentcache.plan.options import PlanOptions
from latentcache.plan.reading import locate
from latentcache.plan.records import (
    MANIFEST_EXTENSIONS,
    PARQUET_EXTENSIONS,
    BrokenRecord,
    Record,
    column_names,
    iter_records,
)
from latentcache.plan.walk import iter_folders
from latentcache.storage import Folder

PATH_COLUMNS = (
    *("path", "file_name", "filename", "file", "filepath", "file_path"),
    *("image_path", "image", "img", "img_path", "video_path", "video", "clip_path", "url", "uri"),
)
START_COLUMNS = ("start_s", "start", "start_time", "start_sec")
END_COLUMNS = ("end_s", "end", "end_time", "end_sec")
"""Seconds of a clip's window in its video, where the plan has clips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where one manifest keeps its pictures.

    Attributes:
        name: The manifest, relative to the root.
        version: Of the manifest.
        path_column: Column of paths; empty if the bytes are in the file.
        bytes_column: Column of bytes; empty if paths are given.
        is_usual: Whether ``bytes_column`` is the one found without being told.
        folder: What relative paths are relative to.
    """

    name: str
    version: str
    path_column: str = ""
    bytes_column: str = ""
    is_usual: bool = True
    folder: str = ""


def iter_manifests(
    root: Folder, options: PlanOptions, totals: ListingTotals, *, only: str = ""
) -> Iterator[ListedMedia]:
    """Yield the rows of the manifest ``only``, or of all manifests below ``root``.

    Raises:
        ConfigError: A manifest has neither a path nor a bytes column.
    """
    if only:
        yield from _iter_manifest(root, only, options)
        return
    for found in iter_folders(root):
        if found.problem:
            totals.warnings[f"folder {portable_path(found.name)}: {found.problem}"] += 1
        for file in found.files:
            name = found.path(file)
            if extension_of(file) in MANIFEST_EXTENSIONS and is_included(name, options):
                yield from _iter_manifest(root, name, options)
            else:
                totals.ignored[extension_of(file) or "(none)"] += 1


def _iter_manifest(root: Folder, name: str, options: PlanOptions) -> Iterator[ListedMedia]:
    facts = root.stat(name)
    if facts is None:
        yield _rejected(name, -1, "the manifest cannot be read")
        return
    layout = _layout(root, name, options, facts.version)
    for record in iter_records(root, name):
        if isinstance(record, BrokenRecord):
            yield _rejected(name, record.position, record.reason)
        elif layout.bytes_column:
            yield _in_cell(layout, record, options)
        else:
            yield _at_path(root, layout, record, options)


def _layout(root: Folder, name: str, options: PlanOptions, version: str) -> _Layout:
    names = column_names(root, name)
    if not names:  # not a table at all: reading it says why
        return _Layout(name=name, version=version)
    check_given_columns(set(names), options, where=name)
    if extension_of(name) in PARQUET_EXTENSIONS:
        with root.open_read(name) as file:
            column, is_usual = bytes_column(file, options.path_column)
        if column:
            return _Layout(name=name, version=version, bytes_column=column, is_usual=is_usual)
    path_column = options.path_column or next((c for c in PATH_COLUMNS if c in names), "")
    if not path_column:
        raise ConfigError(
            f"manifest must have a column of paths or of bytes, got columns "
            f"{', '.join(map(repr, names))} ({name}); name the column with path_column"
        )
    folder = _folder_of_paths(root, name, path_column)
    return _Layout(name=name, version=version, path_column=path_column, folder=folder)


def _folder_of_paths(root: Folder, name: str, path_column: str) -> str:
    """Return the manifest's folder, or the root if only there the first path leads to a file."""
    own = posixpath.dirname(name)
    first = next((r for r in iter_records(root, name) if isinstance(r, Record)), None)
    path = _text_of(first.fields.get(path_column)) if first else ""
    if not own or _problem_of(path, path_column) or "://" in path or path.startswith("/"):
        return own
    below_own = posixpath.normpath(posixpath.join(own, path))
    below_root = posixpath.normpath(path)
    if below_root.startswith(".."):
        return own
    is_own = not below_own.startswith("..") and root.stat(below_own) is not None
    return own if is_own or root.stat(below_root) is None else ""


def _text_of(value: Any) -> str:
    """Return the path a cell holds: a text, or the ``path`` of a picture's struct."""
    if isinstance(value, dict):
        value = value.get("path")
    return value if isinstance(value, str) else ""


def _in_cell(layout: _Layout, record: Record, options: PlanOptions) -> ListedMedia:
    member = cell_member(record.position, "" if layout.is_usual else layout.bytes_column)
    source = SourceRef(path=portable_path(layout.name), member=member)
    leave_out = {layout.bytes_column}
    return _listed(source, record, options, leave_out, version=layout.version)


def _at_path(root: Folder, layout: _Layout, record: Record, options: PlanOptions) -> ListedMedia:
    path = _text_of(record.fields.get(layout.path_column))
    problem = _problem_of(path, layout.path_column)
    if problem:
        return _rejected(layout.name, record.position, problem)
    source = SourceRef(path=portable_path(_relative(root, layout.folder, path)))
    try:
        source, version = _with_facts(root, source)
    except (ConfigError, OSError):
        return _rejected(layout.name, record.position, "the row's path cannot be opened")
    return _listed(source, record, options, {layout.path_column}, version=version)


def _with_facts(root: Folder, source: SourceRef) -> tuple[SourceRef, str]:
    """Return ``source`` with its size, and its version, where asking costs no request."""
    folder, name = locate(root, source.path)
    facts = folder.stat(name) if folder.is_local else None
    if facts is None:
        return source, ""
    return replace(source, size_bytes=facts.size_bytes), facts.version


def _listed(
    source: SourceRef,
    record: Record,
    options: PlanOptions,
    leave_out: set[str],
    *,
    version: str = "",
) -> ListedMedia:
    width, height = record.fields.get("width"), record.fields.get("height")
    is_sized = _is_length(width) and _is_length(height)
    leave_out = leave_out | {"width", "height"} if is_sized else leave_out
    start_s = end_s = None
    if options.clip_rules is not None:
        start_s, end_s = _window(record.fields)
        leave_out = leave_out | {*START_COLUMNS, *END_COLUMNS}
    return ListedMedia(
        source=source,
        version=version,
        annotations=annotations_of(record.fields, options, leave_out=leave_out),
        width_px=width if is_sized else None,
        height_px=height if is_sized else None,
        position=record.position,
        is_member=bool(source.member),
        start_s=start_s,
        end_s=end_s,
    )


def _window(fields: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return where the row says that its clip starts and ends, in seconds."""
    found = []
    for names in (START_COLUMNS, END_COLUMNS):
        values = [fields[name] for name in names if isinstance(fields.get(name), (int, float))]
        found.append(float(values[0]) if values else None)
    return found[0], found[1]


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31


def _problem_of(path: str, column: str) -> str:
    if "\0" in path or posixpath.basename(path) in ("", ".", ".."):
        return f"the row has no file in its {column!r} column"
    if path.startswith(("http://", "https://")):
        return "the row holds a web address; download the pictures first, e.g. with img2dataset"
    return ""


def _relative(root: Folder, folder: str, path: str) -> str:
    """Return ``path`` relative to the root where that is possible."""
    path = path.removeprefix("file://")
    path = path.removeprefix(root.url.rstrip("/") + "/")
    if "://" in path:
        return path
    return posixpath.normpath(posixpath.join(folder, path))


def _rejected(name: str, position: int, reason: str) -> ListedMedia:
    member = "" if position < 0 else str(position)
    return ListedMedia(
        source=SourceRef(path=portable_path(name), member=member),
        position=max(0, position),
        is_member=True,
        reject=bad_record(reason),
    )
