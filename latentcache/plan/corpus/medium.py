"""Which column of a table holds the medium: rules that are said, and a refusal between two."""

import posixpath
from dataclasses import dataclass
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.plan.corpus.annotation_fields import check_given_columns
from latentcache.plan.corpus.role_sources import parse_roles
from latentcache.plan.listing import MEDIA_EXTENSIONS, extension_of
from latentcache.plan.plan_options import PlanOptions
from latentcache.plan.tables.cells import BYTES_COLUMNS, bytes_columns, unnamed_column
from latentcache.plan.tables.plan_records import (
    JSON_EXTENSIONS,
    PARQUET_EXTENSIONS,
    column_names,
    iter_records,
)
from latentcache.plan.tables.table_rows import Record
from latentcache.storage import Folder

PATH_COLUMNS = (
    *("path", "file_name", "filename", "file", "filepath", "file_path"),
    *("image_path", "image", "image_name", "img", "img_path", "video_path", "video", "clip_path"),
)
ADDRESS_COLUMNS = ("url", "uri")
"""Looked at where there is no other: most often the web address a picture came from."""

_SAMPLED_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where one manifest keeps its pictures.

    Attributes:
        name: The manifest, relative to the root.
        version: Of the manifest.
        path_column: Column of paths; empty if the bytes are in the file.
        bytes_column: Column of bytes; empty if paths are given.
        is_unnamed: Whether ``bytes_column`` goes without saying in a member's name.
        folder: What relative paths are relative to.
        held: All columns of bytes.
    """

    name: str
    version: str
    path_column: str = ""
    bytes_column: str = ""
    is_unnamed: bool = True
    folder: str = ""
    held: tuple[str, ...] = ()

    @property
    def choice(self) -> str:
        """What was chosen, as users read it."""
        how = "its bytes" if self.bytes_column else "its paths"
        return f"the pictures are those of column {self.column!r} ({how})"

    @property
    def column(self) -> str:
        """The column of the medium."""
        return self.bytes_column or self.path_column


def layout_of(root: Folder, name: str, options: PlanOptions, version: str) -> Layout:
    """Return where a manifest keeps its pictures.

    A column of bytes with one of the usual names is taken, else a column of paths with one of
    the usual names, else the only column of bytes, else a column of addresses.

    Raises:
        ConfigError: There is none, or two could be meant, or the columns that the options name
            are not there.
    """
    names = column_names(root, name)
    if not names:  # not a table at all: reading it says why
        return Layout(name=name, version=version)
    check_given_columns(set(names), options, where=name)
    held = []
    if extension_of(name) in PARQUET_EXTENSIONS:
        with root.open_read(name) as file:
            held = bytes_columns(file)
    of_roles = _role_columns(root, names, options, where=name)
    others = [each for each in names if each not in of_roles]
    column = options.path_column or _chosen(
        root, name, others, [each for each in held if each not in of_roles]
    )
    if not column:
        raise NoMediumError(
            f"manifest must have a column of paths or of bytes, got columns "
            f"{', '.join(map(repr, names))} ({name}); name the column with "
            "--set plan.path_column=NAME"
        )
    if column in held:
        is_unnamed = column == unnamed_column(held)
        folder = _folder_of_paths(root, name, next(iter(of_roles - {*held}), column))
        return Layout(
            name=name,
            version=version,
            bytes_column=column,
            is_unnamed=is_unnamed,
            folder=folder,
            held=tuple(held),
        )
    folder = _folder_of_paths(root, name, column)
    return Layout(name=name, version=version, path_column=column, folder=folder, held=tuple(held))


def _role_columns(root: Folder, names: list[str], options: PlanOptions, *, where: str) -> set[str]:
    """Return the columns of roles; of lines of JSON any record may be the first that has one.

    Raises:
        ConfigError: One is not there.
    """
    columns = {role.source or role.name: role.name for role in parse_roles(options.roles)}
    lacking = columns.keys() - {*names}
    if lacking and extension_of(where) in JSON_EXTENSIONS:
        records = (each for each in iter_records(root, where) if isinstance(each, Record))
        lacking = set(lacking)
        while lacking and (record := next(records, None)) is not None:
            lacking -= record.fields.keys()
    for column, role in columns.items():
        if column in lacking:
            raise ConfigError(
                f"role {role} must be one of the columns {', '.join(sorted(names))}, got "
                f"{column!r} ({where}); give --role {role}=COLUMN"
            )
    return {*columns}


class NoMediumError(ConfigError):
    """A table has no column that could hold pictures."""


def _chosen(root: Folder, name: str, names: list[str], held: list[str]) -> str:
    usual = [each for each in held if each in BYTES_COLUMNS]
    paths = [each for each in names if each in PATH_COLUMNS and each not in held]
    if len(paths) > 1:
        paths = _naming_files(root, name, paths)
    addresses = [each for each in names if each in ADDRESS_COLUMNS][:1]
    candidates = usual or paths or held or addresses
    if len(candidates) > 1:
        raise ConfigError(
            f"medium must be one column, got {' and '.join(map(repr, candidates))} ({name}); "
            "choose with --set plan.path_column=NAME"
        )
    return candidates[0] if candidates else ""


def _naming_files(root: Folder, name: str, columns: list[str]) -> list[str]:
    """Return those columns whose first values name pictures or videos; of equal ones the first."""
    values: dict[str, list[str]] = {column: [] for column in columns}
    for number, record in enumerate(iter_records(root, name)):
        if number == _SAMPLED_ROWS:
            break
        if isinstance(record, Record):
            for column in columns:
                values[column].append(text_in(record.fields.get(column)))
    naming = [
        column
        for column in columns
        if any(extension_of(value) in MEDIA_EXTENSIONS for value in values[column])
    ]
    distinct = {tuple(values[column]): column for column in reversed(naming or columns)}
    return [column for column in columns if column in distinct.values()]


def _folder_of_paths(root: Folder, name: str, path_column: str) -> str:
    """Return the manifest's folder, or the root if only there the first path leads to a file."""
    own = posixpath.dirname(name)
    first = next((r for r in iter_records(root, name) if isinstance(r, Record)), None)
    path = text_in(first.fields.get(path_column)) if first else ""
    if not own or problem_of(path, path_column) or "://" in path or path.startswith("/"):
        return own
    below_own = posixpath.normpath(posixpath.join(own, path))
    below_root = posixpath.normpath(path)
    if below_root.startswith(".."):
        return own
    is_own = not below_own.startswith("..") and root.stat(below_own) is not None
    return own if is_own or root.stat(below_root) is None else ""


def text_in(value: Any) -> str:
    """Return the path a cell holds: a text, or the ``path`` of a picture's struct."""
    if isinstance(value, dict):
        value = value.get("path")
    return value if isinstance(value, str) and value.strip() else ""


def problem_of(path: str, column: str) -> str:
    """Return why a cell's text is no path of a file; empty if it may be one."""
    if "\0" in path or posixpath.basename(path) in ("", ".", ".."):
        return f"the row has no file in its {column!r} column"
    if path.startswith(("http://", "https://")):
        return "the row holds a web address; download the pictures first, e.g. with img2dataset"
    return ""
