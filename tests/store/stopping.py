"""A folder that stops its process's work at any chosen write, before or after it lands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from latentcache.storage import Folder
from latentcache.store.store import Store

ResultT = TypeVar("ResultT")


class StoppedError(BaseException):
    """As sudden as SIGKILL: nothing may catch it and tidy up."""


@dataclass(eq=False)
class Countdown:
    """How many writes are left; it stops before the next one, or right after the last."""

    writes: int
    lands: bool
    done: int = 0

    def run(self, operation: Callable[[], ResultT]) -> ResultT:
        if self.done == self.writes:
            if self.lands:
                operation()
            raise StoppedError
        self.done += 1
        return operation()


@dataclass(frozen=True)
class StoppingFolder(Folder):
    """The real folder with a countdown on its writes."""

    countdown: Countdown = field(default_factory=lambda: Countdown(10**9, lands=False))

    def write(self, name: str, data: bytes) -> None:
        self.countdown.run(lambda: super(StoppingFolder, self).write(name, data))

    def upload(self, name: str, path: Path) -> None:
        self.countdown.run(lambda: super(StoppingFolder, self).upload(name, path))

    def create_if_absent(self, name: str, data: bytes, *, write_id: str) -> bool:
        return self.countdown.run(
            lambda: super(StoppingFolder, self).create_if_absent(name, data, write_id=write_id)
        )

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            self.countdown.run(lambda name=name: super(StoppingFolder, self).delete([name]))


def stopping(store: Store, writes: int, *, lands: bool) -> Store:
    """Return ``store`` with a countdown of ``writes`` on it."""
    folder = StoppingFolder(
        store.folder.url, store.folder.policy, countdown=Countdown(writes, lands)
    )
    return replace(store, folder=folder)
