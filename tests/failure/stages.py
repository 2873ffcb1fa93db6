"""Commands on one small store, each disturbed at a chosen place and then run again."""

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from latentcache.testing.drawn import write_drawn_corpus
from tests.failure.launched import Kill, Launcher
from tests.failure.launcher import ENCODER
from tests.failure.recovery import check_no_orphans, check_whole, served

_BUILD = ["build", "{corpus}", "{store}", "--encoder", ENCODER]
_BUILD += ["--resolution", "64", "--rows-per-shard", "4", "--max-quarantine", "50%"]
_AT_ONCE = ["--delete", "--grace", "0s"]
COMMANDS = {
    "build": _BUILD,
    "update": [*_BUILD, "--update", "--allow-retire"],
    "retire": ["gc", "{store}", "--retire", "1", "--delete"],
    "compact": ["gc", "{store}", "--compact", *_AT_ONCE],
    "gc": ["gc", "{store}", *_AT_ONCE],
}
"""``build`` plans, encodes, commits and publishes; ``compact`` publishes and retires."""
_STARTS_FROM = {"update": "build", "retire": "update", "compact": "update", "gc": "compact"}
_STOPPED_S = 1.0
_LOOK_EVERY_S = 0.005
_NO_KILL = Kill()


@dataclass(frozen=True)
class Point:
    """Where a run is disturbed.

    Attributes:
        command: A key of ``COMMANDS``.
        place: What is disturbed, in words.
        kill: At an operation, or at none.
        whom: Between operations: ``driver``, ``lc-encode`` or ``lc-call``.
        after: So many operations, of whichever process.
        after_s: And so many seconds.
        how: The signal between operations; SIGSTOP is followed by SIGCONT.
    """

    command: str
    place: str
    kill: Kill = _NO_KILL
    whom: str = ""
    after: int = 0
    after_s: float = 0.0
    how: int = signal.SIGKILL


class Stages:
    """A store before each command, and what an undisturbed run makes of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launcher = Launcher(folder)
        self.served: dict[str, dict[str, tuple[str, ...]]] = {}
        self.operations: dict[str, list[str]] = {}
        self._counted = 0
        self._draw_corpora()
        for command in COMMANDS:
            self._undisturbed(command)

    def _draw_corpora(self) -> None:
        """Ten pictures of which one is broken; then one more, one other, one less, one caption."""
        corpus, edited, more = (self.folder / name for name in ("corpus", "edited", "more"))
        write_drawn_corpus(corpus, 10, seed=1, size_px=64, num_broken=1)
        write_drawn_corpus(more, 4, seed=2, size_px=64)
        shutil.copytree(corpus, edited)
        pictures = sorted(edited.glob("*.jpg"))
        new, changed, *_ = sorted(more.glob("*.jpg"))
        shutil.copy(new, edited / "new.jpg")
        shutil.copy(changed, pictures[1])
        pictures[2].unlink()
        pictures[3].with_suffix(".txt").write_text("another caption")

    def arguments(self, command: str, store: Path) -> list[str]:
        """Return a command line."""
        corpus = self.folder / ("corpus" if command == "build" else "edited")
        return [part.format(corpus=corpus, store=store) for part in COMMANDS[command]]

    def fresh(self, command: str) -> Path:
        """Return a copy of the store that ``command`` starts from, if there is one."""
        self._counted += 1
        store = self.folder / f"store-{self._counted}"
        if command in _STARTS_FROM:
            shutil.copytree(self.folder / f"after-{_STARTS_FROM[command]}", store)
        return store

    def close(self) -> None:
        """End the process that starts runs."""
        self.launcher.close()

    def _undisturbed(self, command: str) -> None:
        store = self.fresh(command)
        code, said = self.launcher.start(self.arguments(command, store), store).wait()
        assert code == 0, said
        self.operations[command] = self.launcher.operations()
        self.served[command] = served(store)
        store.rename(self.folder / f"after-{command}")

    def named_points(self, draw: random.Random) -> list[Point]:
        """Return every kind of operation once, before and after it lands, in a drawn order.

        Of what a worker does, the worker is killed, and at another time its driver.
        """
        named: dict[tuple[str, str, bool, str], list[int]] = {}
        for command, operations in self.operations.items():
            for at, operation in enumerate(operations):
                for whom in ("self", "driver") if operation.startswith("worker") else ("self",):
                    for lands in (False, True):
                        key = (command, kind_of(operation), lands, whom)
                        named.setdefault(key, []).append(at)
        keys = sorted(named)
        draw.shuffle(keys)
        return [
            Point(command, kind, Kill(draw.choice(named[command, kind, lands, whom]), lands, whom))
            for command, kind, lands, whom in keys
        ]

    def random_points(self, draw: random.Random) -> Iterator[Point]:
        """Yield kills and stops between operations, for ever."""
        while True:
            command = draw.choice(sorted(COMMANDS))
            workers = ("lc-encode", "lc-call") if command in ("build", "update") else ()
            whom = draw.choice(("driver", *workers))
            how = draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
            # Counted in operations: how long a run takes is the machine's business.
            after, after_s = draw.randrange(len(self.operations[command])), draw.uniform(0, 0.3)
            place = f"{how.name} of {whom} {after_s:.2f} s after {after} operations"
            yield Point(command, place, whom=whom, after=after, after_s=after_s, how=how)

    def disturb_and_recover(self, point: Point) -> bool:
        """Run a command, disturb it, run it again; return whether there was anybody to disturb.

        Raises:
            AssertionError: Something differs from the undisturbed run.
        """
        store = self.fresh(point.command)
        run = self.launcher.start(self.arguments(point.command, store), store, point.kill)
        was_hit = bool(point.whom) and self._signal(point, run.pid)
        code, said = run.wait()
        was_hit = was_hit or self.launcher.was_hit()
        assert code in (0, -signal.SIGKILL), said
        assert "Traceback" not in said, said
        self.check_recovery(point.command, store)
        shutil.rmtree(store)
        return was_hit

    def _signal(self, point: Point, driver: int) -> bool:
        while len(self.launcher.operations()) < point.after and not _has_ended(driver):
            time.sleep(_LOOK_EVERY_S)
        time.sleep(point.after_s)
        pids = [driver] if point.whom == "driver" else self.launcher.workers(point.whom)[:1]
        # The launcher has not waited for the driver yet: its number is nobody else's.
        hit = [pid for pid in pids if not _has_ended(pid) and _sent(pid, point.how)]
        if hit and point.how == signal.SIGSTOP:
            time.sleep(_STOPPED_S)
            _sent(hit[0], signal.SIGCONT)
        return bool(hit)

    def check_recovery(self, command: str, store: Path) -> None:
        """Run the command again; hold everything against the undisturbed run."""
        code, said = self.launcher.start(self.arguments(command, store), store).wait()
        assert code == 0, said
        assert "Traceback" not in said, said
        self.check(command, store)

    def check(self, command: str, store: Path) -> None:
        """Hold a finished store against the undisturbed run's."""
        check_whole(store)
        assert served(store) == self.served[command]
        check_no_orphans(store)


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _sent(pid: int, how: int) -> bool:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return False
    return True


def kind_of(operation: str) -> str:
    """Return an operation without what is drawn anew in each run, and without counts."""
    short = re.sub(r"[0-9a-f]{32}", "F", operation)
    short = re.sub(r"[0-9a-f]{16}", "W", short)
    return re.sub(r"\d+", "N", short)
