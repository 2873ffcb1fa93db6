"""A folder of objects on any storage: the one door through which the package reads and writes.

A ``Folder`` is a URL and nothing else, so it travels to other processes; each process opens
the storage when it first needs it. Credentials come from the environment, from fsspec's
configuration files, or as options; options are shown and written nowhere.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, TypeVar, cast
from urllib.parse import unquote

from latentcache.core.errors import ConfigError
from latentcache.storage.exclusive import (
    CreateIfAbsentSupport,
    create_if_absent,
    probe_create_if_absent,
)
from latentcache.storage.objects import TEMPORARY_PREFIX, Backend, ObjectInfo, checked_name
from latentcache.storage.opened import forget_backend, is_remote, opened_backend
from latentcache.storage.options import Options, options_in_force, options_text
from latentcache.storage.retried_file import RetriedFile
from latentcache.storage.retry import DEFAULT_POLICY, RetryPolicy, with_retries
from latentcache.storage.storage_errors import (
    StorageError,
    backend_errors,
    read_failure,
    write_failure,
)
from latentcache.storage.url_secrets import secret_in, without_secrets
from latentcache.storage.waiting import told_when_slow

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Folder:
    """Objects below one URL; names are relative, use ``/`` and cannot leave it.

    Attributes:
        url: An absolute local path, or an fsspec URL. May hold a secret: show ``label``.
        policy: Of retries.
        options: As ``options_text`` gives them; they come on top of the process's own.
    """

    url: str
    policy: RetryPolicy = DEFAULT_POLICY
    options: str = field(default="", repr=False)

    @classmethod
    def open(cls, url: str | Path, options: Options | None = None) -> "Folder":
        """Return the folder at a path or URL; nothing is read or created.

        Args:
            url: A path, or an fsspec URL.
            options: Of fsspec's file system, on top of those of the process; they may be secret.

        Raises:
            ConfigError: ``url`` is empty, its protocol is unknown, it holds a secret, or the
                file system has no such option.
        """
        text = os.fspath(url)
        if not text:
            raise ConfigError("url must be a path or an fsspec URL, got ''; name a folder")
        if text.startswith("file://"):
            text = unquote(text.removeprefix("file://"))
        if not is_remote(text):
            return cls(os.path.abspath(text))  # noqa: PTH100  pathlib keeps the `..` in it
        from latentcache.storage.remote import check_url  # noqa: PLC0415  fsspec takes 0.2 s

        if kind := secret_in(text):
            raise ConfigError(
                f"url must hold no secret, got {kind} in {without_secrets(text)}; give it by the "
                "environment (AWS_*), a profile or fsspec's configuration "
                "(~/.config/fsspec/conf.json): URLs are written into plans and logs"
            )
        own = options_text(options)
        check_url(text, options_in_force(own))
        return cls(text.rstrip("/"), options=own)

    @property
    def is_local(self) -> bool:
        """Whether the folder is on a file system of this machine."""
        return not is_remote(self.url)

    @property
    def label(self) -> str:
        """The URL as it may be shown: without user, password and query."""
        return self.url if self.is_local else without_secrets(self.url)

    def __repr__(self) -> str:
        return f"Folder({self.label!r})"

    def child(self, name: str) -> "Folder":
        """Return the folder ``name`` below this one."""
        return replace(self, url=f"{self.url.rstrip('/')}/{checked_name(name)}")

    def local_path(self, name: str = "") -> Path | None:
        """Return where an object lies on this machine, or None on remote storage."""
        if not self.is_local:
            return None
        return Path(self.url) / checked_name(name) if name else Path(self.url)

    def read(self, name: str, *, start: int | None = None, end: int | None = None) -> bytes:
        """Return an object's bytes ``[start, end)``.

        Raises:
            FileNotFoundError: There is none.
            OSError: It cannot be read, after bounded retries.
        """
        checked_name(name)
        return self._reading(lambda backend: backend.read(name, start, end), name)

    def open_read(self, name: str) -> BinaryIO:
        """Return a seekable file over one object; its reads are retried as others are."""
        checked_name(name)
        file = self._reading(lambda backend: backend.open_read(name), name)
        if self.is_local:
            return file
        return cast(BinaryIO, RetriedFile(file, lambda read: self._reading(lambda _: read(), name)))

    def list(self, prefix: str = "", *, with_temporary: bool = False) -> Iterator[ObjectInfo]:
        """Yield all objects below the folder ``prefix``, in no particular order, never cached.

        Args:
            prefix: A folder's name, or "" for everything.
            with_temporary: Also what interrupted writes left behind.
        """
        if prefix:
            checked_name(prefix)
        if self.is_local:  # a corpus may be long: never held whole
            return self._backend().iter_objects(prefix, with_temporary=with_temporary)
        return iter(
            self._reading(
                lambda backend: list(backend.iter_objects(prefix, with_temporary=with_temporary)),
                prefix,
            )
        )

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """Yield the last parts of the names of the folders in ``prefix``, sorted."""
        if prefix:
            checked_name(prefix)
        return iter(self._reading(lambda backend: list(backend.iter_folders(prefix)), prefix))

    def is_empty(self) -> bool:
        """Return whether the folder holds nothing, or does not exist."""
        return self._reading(lambda backend: backend.is_empty(), "")

    def stat(self, name: str) -> ObjectInfo | None:
        """Return an object's size and time, or None if there is none."""
        checked_name(name)
        return self._reading(lambda backend: backend.stat(name), name)

    def write(self, name: str, data: bytes) -> None:
        """Write a whole object, durably; a reader sees all of it or none.

        Raises:
            StorageError: The destination is full, read-only or unreachable, in one sentence.
        """
        checked_name(name)
        self._writing(lambda backend: backend.write(name, data))

    def upload(self, name: str, path: Path) -> None:
        """Write a whole object from a local file, which must not be changed afterwards.

        On the same file system the file is linked, not copied.

        Raises:
            StorageError: As for ``write``.
        """
        checked_name(name)
        self._writing(lambda backend: backend.upload(name, path))

    def create_if_absent(self, name: str, data: bytes, *, write_id: str) -> bool:
        """Return True if ``name`` now holds our ``data``, False if it holds another's.

        Args:
            name: Of the object.
            data: Contains ``write_id``.
            write_id: Tells our object from another's.

        Raises:
            StorageError: As for ``write``.
        """
        checked_name(name)
        return self._writing(
            lambda backend: create_if_absent(
                backend, name, data, write_id=write_id, policy=self.policy
            ),
            retries=False,
        )

    def probe_create_if_absent(self) -> CreateIfAbsentSupport:
        """Return what the storage really does with a conditional write, by trying it."""
        return self._writing(probe_create_if_absent, retries=False)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; one that is gone already is no error."""
        for name in names:
            checked_name(name)
        if names:
            self._writing(lambda backend: backend.delete(names))

    def now_s(self) -> float:
        """Return the storage's own time, in seconds since the epoch, by writing an object."""
        name = f"{TEMPORARY_PREFIX}clock.{secrets.token_hex(8)}"
        self.write(name, b"")
        try:
            info = self.stat(name)
        finally:
            self.delete([name])
        # A storage that keeps no times has no clock of its own to disagree with ours.
        return info.modified_s if info is not None and info.modified_s else time.time()

    def _told_when_slow(self, what: str) -> AbstractContextManager[None]:
        return nullcontext() if self.is_local else told_when_slow(what)

    def _backend(self) -> Backend:
        return opened_backend(self.url, self.options)

    def _failed(self, failure: OSError) -> OSError:
        """Return ``failure``; what storage refuses may be mended from outside, such as keys."""
        if isinstance(failure, StorageError):
            forget_backend(self.url, self.options)
        return failure

    def _reading(self, operation: Callable[[Backend], ResultT], name: str) -> ResultT:
        what = f"reading {name or self.label}"
        try:
            with self._told_when_slow(f"{self.label} to answer ({what})"):
                return with_retries(
                    lambda: operation(self._backend()), policy=self.policy, what=what
                )
        except backend_errors() as error:
            failure = self._failed(read_failure(error, where=self.label))
            raise failure from (None if failure is error else error)

    def _writing(self, operation: Callable[[Backend], ResultT], *, retries: bool = True) -> ResultT:
        policy = self.policy if retries else RetryPolicy(attempts=1)
        what = f"writing to {self.label}"
        try:
            with self._told_when_slow(f"{self.label} to answer (writing)"):
                return with_retries(lambda: operation(self._backend()), policy=policy, what=what)
        except backend_errors() as error:
            failure = self._failed(write_failure(error, where=self.label))
            raise failure from (None if failure is error else error)
