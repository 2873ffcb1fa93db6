"""Parquet, JSONL and CSV manifests: one row per picture, by path or with its bytes.

Rows are numbered from 0 in Parquet and from 1 in text files.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.core.media import SourceRef
from latentcache.core.roles import MAX_NUMBERED, RoleEntry
from latentcache.plan.corpus.annotation_fields import Noted, annotations_of, is_included, texts_in
from latentcache.plan.corpus.medium import Layout, NoMediumError, layout_of, problem_of, text_in
from latentcache.plan.corpus.role_sources import numbered, parse_roles
from latentcache.plan.corpus.walk import iter_folders, note_folder
from latentcache.plan.listing import (
    ListedMedia,
    ListingTotals,
    bad_record,
    extension_of,
    portable_path,
    reading_failed,
    storable_text,
)
from latentcache.plan.plan_options import PlanOptions
from latentcache.plan.read_sources import locate
from latentcache.plan.tables.cells import cell_member
from latentcache.plan.tables.plan_records import MANIFEST_EXTENSIONS, iter_records
from latentcache.plan.tables.table_rows import BrokenRecord, Record
from latentcache.storage import Folder

START_COLUMNS = ("start_s", "start", "start_time", "start_sec")
END_COLUMNS = ("end_s", "end", "end_time", "end_sec")
"""Seconds of a clip's window in its video, where the plan has clips."""


def iter_manifests(
    root: Folder, options: PlanOptions, totals: ListingTotals, *, only: Sequence[str] = ()
) -> Iterator[ListedMedia]:
    """Yield the rows of the manifests ``only``, or of all manifests below ``root``.

    A table without a medium is left out, as long as there is one that has one.

    Raises:
        ConfigError: No manifest has a path or bytes column, or one has two that could be meant.
    """
    names = iter(only) if only else _names_below(root, options, totals)
    num_read = 0
    first_refusal: ConfigError | None = None
    for name in names:
        try:
            layout = _opened(root, name, options, totals)
        except NoMediumError as error:
            first_refusal = first_refusal or error
            totals.findings.add("table_without_medium", portable_path(name))
            continue
        if layout is None:
            continue
        num_read += 1
        yield from _Rows(root, layout, options, totals).media()
    if first_refusal is not None and not num_read:
        raise first_refusal


def _names_below(root: Folder, options: PlanOptions, totals: ListingTotals) -> Iterator[str]:
    for found in iter_folders(root):
        note_folder(found, totals)
        for file in found.files:
            name = found.path(file)
            if extension_of(file) in MANIFEST_EXTENSIONS and is_included(name, options):
                yield name
            else:
                totals.ignored[extension_of(file) or "(none)"] += 1


def _opened(root: Folder, name: str, options: PlanOptions, totals: ListingTotals) -> Layout | None:
    """Return the manifest's layout; None if it cannot be read, which is counted then."""
    try:
        facts = root.stat(name)
        totals.open_container(name, "manifest", facts)
        if facts is None:
            totals.lose(name, "it is missing or not a regular file")
            return None
        layout = layout_of(root, name, options, facts.version)
    except OSError as error:
        totals.lose(name, reading_failed(error))
        return None
    if layout.column:
        totals.findings.chosen[
            f"{layout.choice}; another is chosen with --set plan.path_column=NAME"
        ] += 1
    return layout


class _Rows:
    """The rows of one manifest."""

    def __init__(
        self, root: Folder, layout: Layout, options: PlanOptions, totals: ListingTotals
    ) -> None:
        self._root, self._layout, self._options = root, layout, options
        self._totals, self._findings = totals, totals.findings
        self._name = portable_path(layout.name)
        self._roles = parse_roles(options.roles)
        of_roles = (role.source or role.name for role in self._roles)
        self._own_columns = frozenset((layout.column, *of_roles))
        self._notes = Noted(totals.findings, self._name)

    def media(self) -> Iterator[ListedMedia]:
        """Yield a sample per row that names or holds one."""
        layout = self._layout
        records = iter_records(
            self._root, layout.name, texts=texts_in(self._options), notes=self._notes
        )
        try:
            for record in records:
                if isinstance(record, BrokenRecord):
                    if record.ends_table:
                        self._totals.lose(self._layout.name, record.reason)
                    else:
                        yield _rejected(layout.name, record.position, record.reason)
                elif layout.bytes_column:
                    yield self._in_cell(record)
                elif media := self._at_path(record):
                    yield media
        except OSError as error:
            self._totals.lose(self._layout.name, reading_failed(error))

    def _in_cell(self, record: Record) -> ListedMedia:
        layout = self._layout
        member = cell_member(record.position, "" if layout.is_unnamed else layout.bytes_column)
        source = SourceRef(path=self._name, member=member)
        return self._listed(source, record, version=layout.version)

    def _at_path(self, record: Record) -> ListedMedia | None:
        layout = self._layout
        path = text_in(record.fields.get(layout.path_column))
        if not path:
            self._findings.add("row_without_medium", f"{self._name}, row {record.position}")
            return None
        problem = problem_of(path, layout.path_column)
        if problem:
            return _rejected(layout.name, record.position, problem)
        try:
            source, version = self._found(path)
        except (ConfigError, OSError):
            return _rejected(layout.name, record.position, "the row's path cannot be opened")
        return self._listed(source, record, version=version)

    def _found(self, path: str) -> tuple[SourceRef, str]:
        """Return the file a row names; one that is not there under backslashes, under slashes."""
        root, folder = self._root, self._layout.folder
        source = SourceRef(path=portable_path(_relative(root, folder, path)))
        found, version = _with_facts(root, source)
        if "\\" not in path or found.size_bytes >= 0:
            return found, version
        slashed = SourceRef(path=portable_path(_relative(root, folder, path.replace("\\", "/"))))
        other, other_version = _with_facts(root, slashed)
        if other.size_bytes < 0 and root.is_local:
            return found, version
        self._findings.add("backslash_path", f"{self._name}: {storable_text(path)}")
        return other, other_version

    def _listed(self, source: SourceRef, record: Record, *, version: str) -> ListedMedia:
        options, leave_out = self._options, self._own_columns
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
            annotations=annotations_of(record.fields, options, self._notes, leave_out=leave_out),
            width_px=width if is_sized else None,
            height_px=height if is_sized else None,
            position=record.position,
            is_member=bool(source.member),
            start_s=start_s,
            end_s=end_s,
            roles=dict(self._entries(record)) if self._roles else {},
        )

    def _entries(self, record: Record) -> Iterator[tuple[str, RoleEntry]]:
        """Yield the row's media of each role; several of a list are numbered."""
        layout = self._layout
        for role in self._roles:
            column = role.source or role.name
            value = record.fields.get(column)
            if column in layout.held:
                member = cell_member(record.position, column)
                yield (
                    role.name,
                    RoleEntry(SourceRef(path=self._name, member=member), layout.version),
                )
            elif isinstance(value, list | tuple):
                names = numbered(role.name.partition(".")[0], len(value))
                paths = [text_in(each) for each in value]
                more = len(paths) - MAX_NUMBERED
                label = f"{role.name} of {self._name}, row {record.position}"
                self._findings.add("further_of_role", label, max(0, more))
                for name, path in zip(names, paths, strict=False):
                    if path:
                        yield name, self._entry(path)
            elif path := text_in(value):
                yield role.name, self._entry(path)

    def _entry(self, path: str) -> RoleEntry:
        """Return the file that a row names; whether it is there and can be read is seen later."""
        try:
            return RoleEntry(*self._found(path))
        except (ConfigError, OSError, ValueError):
            return RoleEntry(SourceRef(path=portable_path(path)))


def _with_facts(root: Folder, source: SourceRef) -> tuple[SourceRef, str]:
    """Return ``source`` with its size, and its version, where asking costs no request."""
    folder, name = locate(root, source.path)
    facts = folder.stat(name) if folder.is_local else None
    if facts is None:
        return source, ""
    return replace(source, size_bytes=facts.size_bytes), facts.version


def _window(fields: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return where the row says that its clip starts and ends, in seconds."""
    found = []
    for names in (START_COLUMNS, END_COLUMNS):
        values = [fields[name] for name in names if isinstance(fields.get(name), (int, float))]
        found.append(float(values[0]) if values else None)
    return found[0], found[1]


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31


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
