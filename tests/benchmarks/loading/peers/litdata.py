"""LitData: chunks of tensors written by ``optimize``, read in place."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from litdata import StreamingDataLoader, StreamingDataset, optimize

from tests.benchmarks.loading.cases import Case, draw_block
from tests.benchmarks.loading.job import Batches, Job, delivered, storable


def write(case: Case, folder: Path) -> None:
    """Write tensors in chunks of 64 MB; int16 in bfloat16's place, which they refuse."""
    optimize(
        fn=partial(_rows, case),
        inputs=list(range(-(-case.num_samples // case.rows_per_shard))),
        output_dir=str(folder),
        chunk_bytes="64MB",
        num_workers=1,
    )


def _rows(case: Case, shard: int) -> Iterator[torch.Tensor]:
    yield from torch.from_numpy(storable(draw_block(case, case.rows_per_shard, shard), case))


def open_passes(job: Job) -> Callable[[], Batches]:
    """Return passes of their data set under their loader."""
    dataset = StreamingDataset(str(job.folder), shuffle=True, drop_last=True)
    loader = StreamingDataLoader(
        dataset,
        batch_size=job.case.batch_size,
        num_workers=job.workers,
        drop_last=True,
        persistent_workers=job.workers > 0,
    )
    return lambda: (delivered(batch, job) for batch in loader)
