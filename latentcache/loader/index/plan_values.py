"""Numbers that the plan keeps of each row (sizes, crops, times), for random access.

The plan is compressed in groups of 64 k rows, and a batch from all over it would decode
hundreds of them. So a group is decoded when a row of it is first asked for, and its numbers
are kept in an unnamed file that is mapped: 100 million rows of a pair take 800 MB of disk, of
which memory holds what is in use and can be taken back.
"""

import mmap
import os
import tempfile
import weakref
from collections.abc import Sequence
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.errors import ConfigError, ShardCorruptError
from latentcache.loader.order.feistel import Indices
from latentcache.storage import Folder, map_ahead
from latentcache.store import Generation
from latentcache.store.format import numbers
from latentcache.store.rows import (
    PLACED_PLAN_SCHEMA,
    read_footer,
    read_group,
    stored_columns,
    with_placements,
)

Array = np.ndarray[Any, Any]


class PlanGroups:
    """The groups of rows in which a generation's plan is compressed."""

    def __init__(self, folder: Folder, generation: Generation) -> None:
        """Read the parts' footers; no rows yet.

        Raises:
            ShardCorruptError: A part is missing, or rows are.
        """
        self._folder, self._parts, self._generation = folder, generation.parts, generation
        names = [part.name for part in generation.parts]
        self._footers = list(map_ahead(lambda name: read_footer(folder, name), names))
        groups = [
            (part, group, footer.row_group(group).num_rows)
            for part, footer in enumerate(self._footers)
            for group in range(footer.num_row_groups)
        ]
        self._groups = [(part, group) for part, group, _ in groups]
        ends = np.cumsum([size for _, _, size in groups], dtype=np.int64)
        self._starts = np.append(np.zeros(1, np.int64), ends)
        if self._starts[-1] != generation.num_rows:
            raise ShardCorruptError(
                f"plan must have {generation.num_rows} rows in generation {generation.number}, "
                f"got {self._starts[-1]} ({folder.label}); restore its parts"
            )

    def __len__(self) -> int:
        return len(self._groups)

    def of(self, places: Indices) -> Indices:
        """Return the group that each of some rows is in."""
        return np.searchsorted(self._starts, places, side="right") - 1

    def first(self, number: int) -> int:
        """Return the first row of a group."""
        return int(self._starts[number])

    def read(self, number: int, names: Sequence[str]) -> pa.Table:
        """Return some fields of a group's rows."""
        part, group = self._groups[number]
        stored = list(stored_columns(names, self._generation))
        table = read_group(self._folder, self._parts[part].name, group, stored, self._footers[part])
        return with_placements(table, names, self._generation)


class PlanValues:
    """Some fields of a generation's rows."""

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
            fields: Numeric ones of ``PLACED_PLAN_SCHEMA``; nulls are read as 0.
            scratch: Folder of the file; None is the system's for temporary files.

        Raises:
            ShardCorruptError: A part is missing, or rows are.
        """
        self._groups = PlanGroups(folder, generation)
        self._is_read = np.zeros(len(self._groups), bool)
        self._make_file(fields, generation.num_rows, scratch)

    def read(self, field: str, places: Indices) -> Array:
        """Return one field of rows at some places of the generation's plan."""
        groups = self._groups.of(places)
        if not self._is_read[groups].all():
            new = np.unique(groups[~self._is_read[groups]]).tolist()
            for _ in map_ahead(self._read_group, new):
                pass
        found: Array = self._columns[field][places]
        return found

    def _make_file(self, fields: Sequence[str], num_rows: int, scratch: Path | None) -> None:
        dtypes = {
            name: np.dtype(PLACED_PLAN_SCHEMA.field(name).type.to_pandas_dtype()) for name in fields
        }
        self._offsets: dict[str, int] = {}
        size = 0
        for name in sorted(fields, key=lambda name: -dtypes[name].itemsize):
            self._offsets[name] = size
            size += num_rows * dtypes[name].itemsize
        self._file, path = tempfile.mkstemp(prefix="latentcache-plan-", dir=scratch)
        Path(path).unlink()
        weakref.finalize(self, os.close, self._file)
        os.truncate(self._file, size)
        mapped = mmap.mmap(self._file, size, access=mmap.ACCESS_READ)
        self._columns: dict[str, Array] = {
            name: np.frombuffer(mapped, dtypes[name], count=num_rows, offset=offset)
            for name, offset in self._offsets.items()
        }

    def _read_group(self, number: int) -> None:
        names = list(self._columns)
        table = self._groups.read(number, names)
        for name in names:
            column = table[name]
            if pa.types.is_boolean(column.type):
                column = column.cast(pa.uint8())
            values = numbers(column)
            if values.any():  # else the file has a hole there, which reads as zeros
                # Written and not assigned: a full disk is an error, and not the process's end.
                at = self._offsets[name] + self._groups.first(number) * values.itemsize
                write_at(self._file, np.ascontiguousarray(values).data.cast("B"), at)
        self._is_read[number] = True


def write_at(file: int, data: memoryview, at: int) -> None:
    """Write data at a place of an open file.

    Raises:
        ConfigError: The disk is full.
    """
    try:
        while data:
            written = os.pwrite(file, data, at)
            data, at = data[written:], at + written
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT):
            raise
        raise ConfigError(
            f"scratch disk must have room for plan values, got a full one "
            f"({tempfile.gettempdir()}); set TMPDIR, or LoaderOptions(cache=FOLDER)"
        ) from None
