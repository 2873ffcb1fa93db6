"""The file systems that this process has opened, each until it fails."""

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from latentcache.storage.local import LocalBackend
from latentcache.storage.objects import Backend
from latentcache.storage.options import options_in_force, process_text

_MAX_OPENED = 64


@dataclass(frozen=True, slots=True)
class _Key:
    """What a backend was opened with; one of before a fork must not be used after it."""

    url: str
    options: str
    of_process: str
    process_id: int


_opened: "OrderedDict[_Key, Backend]" = OrderedDict()
_lock = threading.Lock()


def is_remote(url: str) -> bool:
    """Return whether ``url`` is one of fsspec, and no path of this machine."""
    return "://" in url or "::" in url


def opened_backend(url: str, options: str) -> Backend:
    """Return the backend of a URL, opened now if it was not before.

    Args:
        url: A path, or an fsspec URL.
        options: As ``options_text`` gives them.

    Raises:
        ConfigError: An option is wrong.
    """
    key = _key(url, options)
    with _lock:
        backend = _opened.get(key)
        if backend is not None:
            _opened.move_to_end(key)
            return backend
    backend = _open(url, options)
    with _lock:
        backend = _opened.setdefault(key, backend)
        if len(_opened) > _MAX_OPENED:
            _opened.popitem(last=False)
    return backend


def forget_backend(url: str, options: str) -> None:
    """Have the next operation open the storage anew: with keys and endpoint as they are then.

    A client keeps the credentials that it has found, wrong ones too.
    """
    with _lock:
        _opened.pop(_key(url, options), None)


def _key(url: str, options: str) -> _Key:
    return _Key(url, options, process_text() if is_remote(url) else "", os.getpid())


def _open(url: str, options: str) -> Backend:
    if not is_remote(url):
        return LocalBackend(Path(url))
    from latentcache.storage.remote import RemoteBackend  # noqa: PLC0415  fsspec takes 0.2 s

    return RemoteBackend.open(url, options_in_force(options))


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  another thread may have held it
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
