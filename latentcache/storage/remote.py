"""Object stores and every other fsspec file system; one PUT makes an object visible."""

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.core import url_to_fs
from fsspec.utils import get_protocol

from latentcache.core.errors import ConfigError
from latentcache.core.extras import missing_package
from latentcache.storage.client_options import client_options
from latentcache.storage.objects import TEMPORARY_PREFIX, ObjectInfo
from latentcache.storage.s3_session import open_s3
from latentcache.storage.storage_errors import StorageError
from latentcache.storage.url_secrets import without_secrets

_S3 = ("s3", "s3a")
_DELETED_AT_ONCE = 1000

_VERSION_KEYS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "created")
_MODIFIED_KEYS = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")


@dataclass(frozen=True, slots=True)
class RemoteBackend:
    """A folder of an fsspec file system.

    Attributes:
        file_system: Made for this process, with no cache of listings or of instances.
        root: The folder as the file system spells it, without a slash at its end.
    """

    file_system: Any = field(repr=False)
    root: str

    @classmethod
    def open(cls, url: str, options: Mapping[str, Any] | None = None) -> "RemoteBackend":
        """Return a backend whose file system belongs to this process alone.

        Args:
            url: Of the folder.
            options: Of its file system, and of others; see ``client_options``.

        Raises:
            ConfigError: An option is unknown, or its value is refused.
        """
        # s3fs caches listings and instances by default: a cached listing hides commits, and
        # an instance that crossed a fork hangs.
        ours: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        theirs = client_options(url, options or {})
        try:
            opened = open_s3 if get_protocol(url) in _S3 else _open_other
            file_system, root = opened(url, {**theirs, **ours})
        except (KeyError, TypeError, ValueError) as error:
            if not theirs:
                raise
            raise ConfigError(
                f"storage_options must fit the file system of {get_protocol(url)}://, got a "
                f"{type(error).__name__} for {', '.join(sorted(theirs))} "
                f"({without_secrets(url)}); correct them"
            ) from None
        return cls(file_system, str(root).rstrip("/"))

    @property
    def _is_s3(self) -> bool:
        return hasattr(self.file_system, "call_s3")

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def read(self, name: str, start: int | None, end: int | None) -> bytes:
        """Return bytes ``[start, end)``.

        Raises:
            StorageError: The server sends more than was asked for.
        """
        if start is not None and end is not None and end <= start:
            return b""
        options: dict[str, Any] = {"start": start, "end": end}
        if self._is_s3:
            # One GET is of one version; s3fs reads a large object in ranges side by side.
            options["max_concurrency"] = 1
        data = cast(bytes, self.file_system.cat_file(self._path(name), **options))
        # A web server may answer a range with the whole file, and fsspec hands that on.
        if end is not None and len(data) > end - (start or 0):
            raise StorageError(
                f"server must answer byte ranges, got {len(data)} bytes for {start or 0} to {end} "
                f"({name}); serve the folder by one that does, or copy it to a disk",
                errno.ENOTSUP,
            )
        return data

    def open_read(self, name: str) -> BinaryIO:
        """Return a seekable file."""
        return cast(BinaryIO, self.file_system.open(self._path(name), "rb"))

    def write(self, name: str, data: bytes) -> None:
        """Put a whole object."""
        self._make_parent(name)
        self.file_system.pipe_file(self._path(name), data)

    def upload(self, name: str, path: Path) -> None:
        """Put a whole object from a local file, in parts if it is large."""
        self._make_parent(name)
        self.file_system.put_file(str(path), self._path(name))

    def put_if_absent(self, name: str, data: bytes) -> None:
        """Put a whole object on the condition that there is none."""
        self._make_parent(name)
        self.file_system.pipe_file(self._path(name), data, mode="create")

    def _make_parent(self, name: str) -> None:
        # Object stores have no folders, and asking S3 for one would try to create a bucket.
        if not _has_folders(self.file_system):
            return
        self.file_system.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)

    def iter_objects(self, prefix: str, *, with_temporary: bool) -> Iterator[ObjectInfo]:
        """Yield all objects below ``prefix``."""
        try:
            found = self.file_system.find(self._path(prefix), detail=True)
        except FileNotFoundError:
            return
        for path, details in found.items():
            name = str(path).removeprefix(self.root).lstrip("/")
            if not name or name.endswith("/") or details.get("type") == "directory":
                continue
            info = _info(name, details)
            if with_temporary or not info.is_temporary:
                yield info

    def iter_folders(self, prefix: str) -> Iterator[str]:
        """Yield the last parts of the names of the folders in ``prefix``."""
        try:
            listed = self.file_system.ls(self._path(prefix), detail=True)
        except FileNotFoundError:
            return
        for details in sorted(listed, key=lambda details: str(details["name"])):
            if details["type"] == "directory":
                yield str(details["name"]).rstrip("/").rpartition("/")[2]

    def is_empty(self) -> bool:
        """Return whether there is nothing, what interrupted writes left behind aside."""
        try:
            listed = self.file_system.ls(self.root, detail=False)
        except FileNotFoundError:
            return True
        names = (str(path).removeprefix(self.root).strip("/") for path in listed)
        return all(not name or name.startswith(TEMPORARY_PREFIX) for name in names)

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what a listing would say of one object, or None if there is none."""
        try:
            details = self.file_system.info(self._path(name))
        except FileNotFoundError:
            return None
        return None if details.get("type") == "directory" else _info(name, details)

    def _delete_from_s3(self, paths: Sequence[str]) -> None:
        """Delete up to 1,000 objects in one request, gone or not."""
        bucket = self.file_system.split_path(paths[0])[0]
        keys = [{"Key": self.file_system.split_path(path)[1]} for path in paths]
        asked = {"Objects": keys, "Quiet": True}
        answer = self.file_system.call_s3("delete_objects", Bucket=bucket, Delete=asked)
        if refused := answer.get("Errors"):
            first = refused[0]
            raise StorageError(
                f"objects must be deleted, got {len(refused)} that {bucket} keeps (e.g. "
                f"{first.get('Key')}: {first.get('Message') or first.get('Code')}); check the "
                "permission s3:DeleteObject",
                errno.EACCES,
            )

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; one that is gone already is no error."""
        paths = [self._path(name) for name in names]
        if self._is_s3:
            # Not rm, which takes names for patterns and is silent where S3 refuses.
            for start in range(0, len(paths), _DELETED_AT_ONCE):
                self._delete_from_s3(paths[start : start + _DELETED_AT_ONCE])
            return
        for path in paths:
            try:
                self.file_system.rm_file(path)
            except FileNotFoundError:
                continue


def _open_other(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    opened: tuple[Any, str] = url_to_fs(url, **options)
    return opened


def check_url(url: str, options: Mapping[str, Any]) -> None:
    """Refuse a URL that fsspec has no file system for, and options that it does not have.

    Raises:
        ConfigError: The protocol is unknown, its package is not installed, or an option is wrong.
    """
    protocol = get_protocol(url)
    try:
        fsspec.get_filesystem_class(protocol)
    except (ValueError, ImportError) as error:
        absent = missing_package(error.__cause__)
        if absent is not None:
            raise absent from None
        advice = str(error).splitlines()[0]
        raise ConfigError(
            f"url must have a protocol that fsspec knows, got {protocol!r}; {advice.rstrip('.')}"
        ) from None
    client_options(url, options)


def _has_folders(file_system: Any) -> bool:
    protocol = file_system.protocol
    names = {protocol} if isinstance(protocol, str) else set(protocol)
    return not names & {"s3", "s3a", "gs", "gcs", "abfs", "az", "abfss", "oci", "r2"}


def _info(name: str, details: dict[str, Any]) -> ObjectInfo:
    version = next((details[key] for key in _VERSION_KEYS if details.get(key)), "")
    modified = next((details[key] for key in _MODIFIED_KEYS if details.get(key)), 0.0)
    size = details.get("size")
    return ObjectInfo(
        name=name,
        size_bytes=-1 if size is None else int(size),
        modified_s=_epoch_s(modified),
        version=str(version).strip('"'),
    )


def _epoch_s(value: Any) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            return 0.0
    return float(value)
