"""What lies beside the media and tells of them: captions, tables, tars, with sizes and times.

Kept with the plan, so that an edited caption is seen by its size or time, without reading it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from latentcache.plan.spill import TableFile
from latentcache.store.rows import BESIDE_SCHEMA

CAPTION = "caption"
_BATCH_ROWS = 50_000

Facts = tuple[str, int, str]
"""Name relative to the root, size in bytes, version."""


class BesideTable:
    """Rows of ``BESIDE_SCHEMA``, kept on a local disk."""

    def __init__(self, scratch: Path) -> None:
        self._file = TableFile(scratch / "beside.arrow", BESIDE_SCHEMA)
        self._held: list[tuple[str, str, int, str]] = []

    def add_captions(self, files: Sequence[Facts]) -> None:
        """Take caption files."""
        self.add([(name, CAPTION, size_bytes, version) for name, size_bytes, version in files])

    def add(self, rows: Sequence[tuple[str, str, int, str]]) -> None:
        """Take files: name, kind, size in bytes, version."""
        self._held += rows
        if len(self._held) >= _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            columns = [pa.array(values) for values in zip(*self._held, strict=True)]
            table = pa.table(columns, names=BESIDE_SCHEMA.names)
            self._file.append(table.cast(BESIDE_SCHEMA))
            self._held.clear()

    def tables(self) -> Iterator[pa.Table]:
        """Yield all rows; nothing can be added afterwards."""
        self._flush()
        self._file.close()
        yield from self._file
