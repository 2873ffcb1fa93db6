"""Lance: a column of fixed-size lists.

Options: ``torch`` (their ``LanceDataset`` for torch, whose sampler shuffles blocks of a batch),
``take`` (one call per batch of a global permutation). Lance reads with threads of its own.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import torch
from lance.sampler import ShardedBatchSampler
from lance.torch.data import LanceDataset

from tests.benchmarks.loading.cases import Case, iter_blocks
from tests.benchmarks.loading.job import Batches, Job, delivered, storable


def write(case: Case, folder: Path) -> None:
    """Write float16, or int16 in bfloat16's place, with the newest stable file format."""
    number = pa.float16() if case.dtype == "float16" else pa.int16()
    schema = pa.schema([pa.field("z", pa.list_(number, case.values))])

    def batches() -> Iterator[pa.RecordBatch]:
        for block in iter_blocks(case):
            flat = pa.array(storable(block, case).reshape(-1), type=number)
            column = pa.FixedSizeListArray.from_arrays(flat, case.values)
            yield pa.RecordBatch.from_arrays([column], schema=schema)

    lance.write_dataset(batches(), str(folder / "data.lance"), schema=schema)


def open_passes(job: Job) -> Callable[[], Batches]:
    """Return passes in the way asked for."""
    rows = lance.dataset(str(job.folder / "data.lance"))
    if job.option == "take":
        return lambda: _take_pass(rows, job)
    seeds = iter(range(1 << 30))

    def block_pass() -> Batches:
        sampler = ShardedBatchSampler(rank=0, world_size=1, randomize=True, seed=next(seeds))
        for batch in LanceDataset(rows, batch_size=job.case.batch_size, sampler=sampler):
            if len(batch) == job.case.batch_size:
                yield delivered(batch, job)

    return block_pass


def _take_pass(rows: lance.LanceDataset, job: Job) -> Batches:
    size = job.case.batch_size
    order = np.random.permutation(job.case.num_samples)
    for start in range(0, len(order) - size + 1, size):
        table = rows.take(order[start : start + size].tolist(), columns=["z"])
        values = table.column("z").combine_chunks().flatten().to_numpy(zero_copy_only=True)
        yield delivered(torch.from_numpy(values.reshape(size, -1)), job)
