"""Texts that the plan keeps of each row (paths, members), for random access.

As ``plan_values`` keeps numbers: a group of 64 k rows is decoded when a row of it is first asked
for, and its texts lie one after the other in an unnamed file, with 8 bytes a row for where.
"""

import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentcache.loader.index.plan_values import PlanGroups, write_at
from latentcache.loader.order.feistel import Indices
from latentcache.storage import Folder
from latentcache.store import Generation

TEXT_FIELDS = ("path", "member", "version")


class PlanTexts:
    """Some texts of a generation's rows."""

    def __init__(
        self,
        folder: Folder,
        generation: Generation,
        fields: Sequence[str],
        *,
        scratch: Path | None = None,
    ) -> None:
        """Read the parts' footers; no rows yet.

        Args:
            folder: The store.
            generation: Whose rows they are.
            fields: Of ``TEXT_FIELDS``.
            scratch: Folder of the file; None is the system's for temporary files.

        Raises:
            ShardCorruptError: A part is missing, or rows are.
        """
        self._groups = PlanGroups(folder, generation)
        self._fields = list(fields)
        self._file, path = tempfile.mkstemp(prefix="latentcache-texts-", dir=scratch)
        Path(path).unlink()
        weakref.finalize(self, os.close, self._file)
        self._end = 0
        self._bounds: dict[tuple[int, str], np.ndarray[Any, np.dtype[np.int64]]] = {}

    def read(self, field: str, places: Indices) -> list[str]:
        """Return one text of rows at some places of the generation's plan."""
        groups = self._groups.of(places)
        for number in np.unique(groups).tolist():
            if (number, field) not in self._bounds:
                self._read_group(number)
        found = []
        for number, place in zip(groups.tolist(), places.tolist(), strict=True):
            bounds = self._bounds[number, field]
            at = place - self._groups.first(number)
            start, stop = int(bounds[at]), int(bounds[at + 1])
            found.append(os.pread(self._file, stop - start, start).decode("utf-8"))
        return found

    def _read_group(self, number: int) -> None:
        table = self._groups.read(number, self._fields)
        for name in self._fields:
            texts = [str(text).encode("utf-8") for text in table[name].to_pylist()]
            ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
            write_at(self._file, memoryview(b"".join(texts)), self._end)
            self._bounds[number, name] = ends + self._end
            self._end += int(ends[-1])
