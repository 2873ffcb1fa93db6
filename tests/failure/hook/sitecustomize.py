"""Kills a process at a chosen operation on a store's disk; on PYTHONPATH every child has it.

The product knows nothing of this. ``KILL_ORDER`` names a file: which store is watched, at which of
its operations, before or after it has landed, and whether who does it dies or its driver.
Every operation is counted and noted beside it, whichever process does it.
"""

import fcntl
import importlib.machinery
import json
import os
import signal
import sys
from pathlib import Path

_WATCHED = "latentcache.storage.local"
_ORDER = Path(os.environ.get("KILL_ORDER", "/nonexistent"))


def _count(line: str) -> int:
    with _ORDER.with_suffix(".done").open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = sum(1 for _ in file)
        file.write(f"{line}\n")
    return number


def _kill(order: dict) -> None:
    _ORDER.with_suffix(".hit").touch()
    os.kill(order["driver"] if order["whom"] == "driver" else os.getpid(), signal.SIGKILL)


def _watched(operation: str, real):
    def run(self, name, *rest):
        order = json.loads(_ORDER.read_text())
        if str(self.root) != order["store"]:
            return real(self, name, *rest)
        shown = str(name).removeprefix(order["store"]).lstrip("/")
        who = "driver" if os.getpid() == order["driver"] else "worker"
        is_now = _count(f"{who} {operation} {shown}") == order["at"]
        if is_now and not order["lands"]:
            _kill(order)
        result = real(self, name, *rest)
        if is_now and order["lands"]:
            _kill(order)
        return result

    return run


def _watch(backend) -> None:
    for operation in ("write", "upload", "put_if_absent"):
        setattr(backend, operation, _watched(operation, getattr(backend, operation)))
    # Between an object's bytes and its name, and between one deletion and the next.
    backend._write_temporary = _watched("temporary", backend._write_temporary)
    delete = _watched("delete", lambda self, name: real_delete(self, [name]))
    real_delete = backend.delete
    backend.delete = lambda self, names: [delete(self, name) for name in names] and None


class _Finder:
    """Lets the module be found as ever, and changes it once it is loaded."""

    def find_spec(self, name, path, target=None):
        if name != _WATCHED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            _watch(module.LocalBackend)

        spec.loader.exec_module = exec_module
        return spec


if _ORDER.exists():
    sys.meta_path.insert(0, _Finder())
