"""Tables too long for memory, split by hash into files on a local disk.

Partitions are ranges of the hash, so partitions in order, each one sorted, are the whole
in order.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

NUM_PARTITIONS = 256
FLUSH_ROWS = 50_000
"""Rows held before they are written: about 25 MB with captions."""
_READS_PER_MAP = 32


class Partitioner:
    """Collects tables with a uint64 column ``placement``; small totals never touch the disk."""

    def __init__(self, folder: Path, schema: pa.Schema, *, flush_rows: int = FLUSH_ROWS) -> None:
        self._folder, self._schema, self._flush_rows = folder, schema, flush_rows
        self._held: list[pa.Table] = []
        self._num_held = 0
        self._writers: dict[int, pa.RecordBatchFileWriter] = {}

    def add(self, table: pa.Table) -> None:
        """Take one table."""
        self._held.append(table)
        self._num_held += len(table)
        if self._num_held >= self._flush_rows:
            self._flush()

    def partitions(self) -> Iterator[pa.Table]:
        """Yield everything, by ascending range of the hash; unsorted within one."""
        if not self._writers:
            yield self._whole()
            return
        self._flush()
        for writer in self._writers.values():
            writer.close()
        for number in sorted(self._writers):
            with pa.memory_map(str(self._path(number))) as file:
                yield pa.ipc.open_file(file).read_all()
            self._path(number).unlink()

    def _whole(self) -> pa.Table:
        return pa.concat_tables([self._schema.empty_table(), *self._held])

    def _path(self, number: int) -> Path:
        return self._folder / f"partition-{number:03d}.arrow"

    def _flush(self) -> None:
        table = self._whole()
        if not len(table):
            return
        self._held, self._num_held = [], 0
        shift = np.uint64(64 - (NUM_PARTITIONS - 1).bit_length())
        numbers = (table["placement"].to_numpy() >> shift).astype(np.int64)
        order = np.argsort(numbers, kind="stable")
        table = table.take(order).combine_chunks()
        found, starts = np.unique(numbers[order], return_index=True)
        ends = [*starts[1:], len(table)]
        for number, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True):
            if number not in self._writers:
                path = str(self._path(number))
                self._writers[number] = pa.ipc.new_file(path, self._schema)
            self._writers[number].write_table(table.slice(start, end - start))


class TableFile:
    """Tables of one schema appended to a local file, then read back one by one, any time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._writer = pa.ipc.new_file(str(path), schema)
        self._is_open = True
        self._reader: pa.RecordBatchFileReader | None = None
        self._num_reads = 0
        self.num_batches = 0
        self.num_rows = 0

    def append(self, table: pa.Table) -> int:
        """Add ``table`` as one batch and return the batch's number."""
        assert self._is_open, "a table file is written first and read then"
        batches = table.combine_chunks().to_batches()
        assert len(batches) == 1, "an empty table is no batch"
        self._writer.write_batch(batches[0])
        self.num_rows += len(table)
        self.num_batches += 1
        return self.num_batches - 1

    def close(self) -> None:
        """End writing."""
        self._writer.close()
        self._is_open = False

    def read(self, batch: int) -> pa.Table:
        """Return one batch."""
        # Pages that were read count as ours while the file is mapped: map it anew now and then.
        if self._reader is None or self._num_reads % _READS_PER_MAP == 0:
            self._reader = pa.ipc.open_file(pa.memory_map(str(self._path)))
        self._num_reads += 1
        return pa.Table.from_batches([self._reader.get_batch(batch)])

    def __iter__(self) -> Iterator[pa.Table]:
        return (self.read(batch) for batch in range(self.num_batches))
