"""Starts commands of ``latentcache`` as processes of their own, and imports all of it once.

A line of JSON on stdin, ``{"arguments", "stderr", "order", "is_alone"}``, forks one process that
runs the command line; its pid is printed. ``{"wait": pid}`` prints its exit code, negative for a
signal. Workers of a run that is alone are forked from templates that stay, as in the other tests:
whose run a child belongs to is nothing to them.
"""

import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentcache.cli import main as run_command_line
from latentcache.runner.workers import local_workers

ENCODER = "latentcache.testing.fakes:SlowEncoder:seconds=0.02"
_USED = (
    "latentcache.cli.build",
    "latentcache.cli.stores.gc",
    "latentcache.encoders.identity",
    "latentcache.encoders.registry",
    "latentcache.runner.build_recipe",
    "latentcache.runner.compacting",
    "latentcache.runner.encode.column_run",
    "latentcache.runner.encode.one_pass",
    "latentcache.runner.encode.pinning",
    "latentcache.runner.jobs",
    "latentcache.runner.planning",
    "latentcache.runner.retiring",
    "latentcache.runner.versions",
    "latentcache.runner.workers.starting",
    "latentcache.stats",
    "latentcache.store.compaction",
    "latentcache.store.free_encoding",
    "latentcache.store.garbage",
    "latentcache.store.snapshots.publish",
    "latentcache.testing.fakes",
    "pandas",  # by pyarrow
)
"""Imported once, before runs are forked; a run imports what is missing here."""
_Template = local_workers._Template
_kept: dict[tuple[str, ...], Any] = {}


def _template(modules: Sequence[str], encoders: Sequence[str] = ()) -> Any:
    """Return the one that stays, or a new one."""
    key = tuple(modules)
    if key not in _kept:
        _kept[key] = _Template(modules, encoders)
        _kept[key].close = lambda: None
    return _kept[key]


def _make_ready() -> None:
    """Replace templates that were killed, and drop answers that a killed driver left unread."""
    for modules in list(_kept):
        if _kept[modules]._process.poll() is not None:
            del _kept[modules]
        found = _template(modules, [ENCODER])
        found._control.setblocking(False)
        try:
            while found._control.recv(4096):
                pass
        except BlockingIOError:
            found._control.setblocking(True)


def _give(order: dict[str, Any]) -> None:
    """Replace the order at once: workers of a killed run may be reading it."""
    path = Path(os.environ["KILL_ORDER"])
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps({**order, "driver": os.getpid()}))
    new.replace(path)


def _run(arguments: list[str], stderr: str, order: dict[str, Any], *, is_alone: bool) -> None:
    """Run one command in this process, which is a fork, and never return."""
    if not is_alone:
        local_workers._Template = _Template  # type: ignore[misc]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    _give(order)
    for descriptor, name in ((0, os.devnull), (1, os.devnull), (2, stderr)):
        opened = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
    code = 1
    try:
        run_command_line(arguments)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:  # noqa: BLE001  what nothing catches is what the tests look for
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Serve until stdin ends."""
    for module in _USED:
        importlib.import_module(module)
    local_workers._Template = _template  # type: ignore[misc, assignment]
    for modules in (local_workers.SCAN_MODULES, local_workers.ENCODE_MODULES):
        _template(modules, [ENCODER])
    print(json.dumps([each._process.pid for each in _kept.values()]), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        if "wait" in wanted:
            status = os.waitpid(wanted["wait"], 0)[1]
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        if wanted["is_alone"]:
            _make_ready()
        pid = os.fork()
        if pid == 0:
            _run(**wanted)
        print(pid, flush=True)
    for each in _kept.values():
        each._process.kill()


if __name__ == "__main__":
    main()
