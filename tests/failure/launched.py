"""This side of ``launcher.py``: starts command lines, and knows their workers."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Kill:
    """Which storage operation of a run kills whom.

    Attributes:
        at: Its number, or -1 for none.
        lands: Whether the operation is done first.
        whom: ``self``, who does it, or its ``driver``.
    """

    at: int = -1
    lands: bool = False
    whom: str = "self"


@dataclass
class Launcher:
    """The process that starts runs."""

    folder: Path
    templates: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.order = self.folder / "order"
        self.order.write_text(json.dumps({"store": "", "at": -1}))
        hook = str(Path(__file__).parent / "hook")
        path = os.pathsep.join([hook, str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.failure.launcher"],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": path, "KILL_ORDER": str(self.order)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.templates = json.loads(self._line())
        self._num_started = 0

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the launcher is gone"
        return line

    def start(
        self,
        arguments: Sequence[str],
        store: Path,
        kill: Kill | None = None,
        *,
        is_alone: bool = True,
    ) -> "Run":
        """Start a command; several may run at once if they say so."""
        kill = kill or Kill()
        order = {"store": str(store), "at": kill.at, "lands": kill.lands, "whom": kill.whom}
        if is_alone:
            self.order.with_suffix(".done").unlink(missing_ok=True)
            self.order.with_suffix(".hit").unlink(missing_ok=True)
        self._num_started += 1
        stderr = self.folder / f"stderr-{self._num_started}"
        wanted = {"arguments": list(arguments), "stderr": str(stderr), "order": order}
        return Run(self, int(self.ask({**wanted, "is_alone": is_alone})), stderr)

    def ask(self, wanted: dict[str, Any]) -> str:
        """Send a line and return the one that answers it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return self._line()

    def operations(self) -> list[str]:
        """Return the storage operations of the last run, in order: who, what, name."""
        done = self.order.with_suffix(".done")
        return done.read_text().splitlines() if done.exists() else []

    def was_hit(self) -> bool:
        """Return whether the last run came to the operation that kills."""
        return self.order.with_suffix(".hit").exists()

    def workers(self, title: str) -> list[int]:
        """Return the pids of the workers that bear ``title``: children of our own templates."""
        found = []
        for template in self.templates:
            children = Path(f"/proc/{template}/task/{template}/children").read_text().split()
            found += [int(pid) for pid in children if _title(int(pid)) == title]
        return found

    def close(self) -> None:
        """End it and its templates."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


@dataclass(frozen=True)
class Run:
    """A process that a launcher has started."""

    launcher: Launcher
    pid: int
    stderr: Path

    def wait(self) -> tuple[int, str]:
        """Return its exit code, and what it said."""
        code = int(self.launcher.ask({"wait": self.pid}))
        said = self.stderr.read_text(errors="replace")
        self.stderr.unlink()
        return code, said


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
