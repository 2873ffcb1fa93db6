"""The demo's kill test: a build ended by SIGKILL, run again, compared byte by byte."""

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentcache.core.errors import RunError
from latentcache.core.units import UnitId
from latentcache.demo.page import KillTest, UnitDigests
from latentcache.store import ColumnView, Store, UnitEntry
from latentcache.store.format import ObjectRef

_POLL_S = 0.002
"""A small unit is committed every 0.1 s."""
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One ``latentcache build`` in a process of its own.

    Attributes:
        arguments: Of the command, without ``latentcache``.
        store: Where it builds.
        log: Both outputs of every start, one after the other.
    """

    arguments: Sequence[str]
    store: Path
    log: Path

    @property
    def command(self) -> str:
        """As a person would type it."""
        return " ".join(["latentcache", *self.arguments])

    def start(self) -> "subprocess.Popen[bytes]":
        """Return the process, running."""
        run_main = "from latentcache.cli import main; main()"
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", run_main, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C in the terminal is the demo's to pass on.
                start_new_session=True,
            )

    def num_commits(self) -> int:
        """Return how many units are committed now."""
        return sum(1 for _ in self.store.glob("encodings/*/*/commits/*.json"))

    def finish(self) -> None:
        """Run it to its end.

        Raises:
            RunError: It failed; its log says why.
        """
        process = self.start()
        try:
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        if code:
            raise RunError(f"build must succeed, got exit code {code} ({self.log}); read the log")


def kill_in_the_middle(build: Build, *, num_commits: int) -> frozenset[UnitId]:
    """Start ``build``, SIGKILL it once it has ``num_commits``, and return what it committed.

    Raises:
        RunError: It ended before it could be killed.
    """
    process = build.start()
    stop_at = time.monotonic() + _TIMEOUT_S
    try:
        while build.num_commits() < num_commits:
            if process.poll() is not None or time.monotonic() > stop_at:
                raise RunError(
                    f"build must run until it is killed, got exit code {process.poll()} with "
                    f"{build.num_commits()} units committed ({build.log}); read the log"
                )
            time.sleep(_POLL_S)
    finally:
        _end(process)
    names = build.store.glob("encodings/*/*/commits/*.json")
    return frozenset(UnitId.parse(path.name.partition(".")[0]) for path in names)


def _end(process: "subprocess.Popen[bytes]") -> None:
    # The driver alone: Ray's processes must end by themselves when it is gone.
    process.send_signal(signal.SIGKILL)
    process.wait()


def compare(
    undisturbed: Path, build: Build, column: str, *, committed: frozenset[UnitId]
) -> KillTest:
    """Return the digests of every chosen tar and meta in both stores.

    Args:
        undisturbed: The store to compare with.
        build: The one that was killed, finished since.
        column: Of both.
        committed: Units that were there when it was killed.
    """
    first, second = (
        Store.open(store).snapshot().column(column) for store in (undisturbed, build.store)
    )
    others = {entry.unit.unit: entry for entry in second.units()}
    rows = []
    for entry in first.units():
        other = others.get(entry.unit.unit)
        rows.append(
            UnitDigests(
                unit=str(entry.unit.unit),
                bucket=str(entry.unit.bucket),
                num_samples=entry.num_present,
                tar=(_digest(first, entry, "tar"), _digest(second, other, "tar")),
                meta=(_digest(first, entry, "meta"), _digest(second, other, "meta")),
                was_committed_before_kill=entry.unit.unit in committed,
            )
        )
    return KillTest(command=build.command, num_committed_at_kill=len(committed), units=tuple(rows))


def _digest(view: ColumnView, entry: UnitEntry | None, kind: str) -> str:
    """Return the SHA-256 of the file as it lies there, not of what a record says."""
    ref: ObjectRef | None = getattr(entry, kind, None)
    path = view.folder.local_path(ref.name) if ref is not None else None
    if path is None:
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
