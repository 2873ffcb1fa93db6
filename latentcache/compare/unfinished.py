"""What was measured of a space before a stop, so that the next run goes on from there."""

import time
from collections.abc import Callable
from pathlib import Path

from latentcache.compare.measured import Measured, read_measured, write_measured

EVERY_S = 30.0
"""Of measuring that a kill costs at most, and one sample."""


class Unfinished:
    """A file beside those of ``--keep`` that are whole; without a folder nothing is kept."""

    def __init__(
        self, folder: Path | None, digest: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._name, self._clock = folder, f"{digest}.unfinished", clock
        self._last_s = clock()

    def read(self) -> Measured | None:
        """Return what an earlier run left, or None."""
        if self._folder is None:
            return None
        return read_measured(self._folder, self._name, name="")

    @property
    def is_due(self) -> bool:
        """Whether the last file is old."""
        return self._folder is not None and self._clock() - self._last_s >= EVERY_S

    def write(self, measured: Measured) -> None:
        """Replace the file."""
        if self._folder is not None:
            write_measured(measured, self._folder, self._name)
            self._last_s = self._clock()

    def drop(self) -> None:
        """Take the file away: the space is whole."""
        if self._folder is not None:
            (self._folder / f"{self._name}.safetensors").unlink(missing_ok=True)
