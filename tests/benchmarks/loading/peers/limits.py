"""What the machine allows: one array in memory, copied, and gathered row by row at random.

Options: ``memcpy`` (batches in order, into one buffer), ``gather`` (``index_select`` of a random
batch into fresh memory), ``gather-reused`` (into one buffer), ``gather-float32`` (into fresh
memory, then converted, a mean taken off each channel and divided by a scale, as one would write
it), ``read`` (the files of our store read in order, for the cold disk).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.loading.cases import Case
from tests.benchmarks.loading.job import Batches, Job, delivered
from tests.benchmarks.loading.peers.webdataset import tars_of


def write(case: Case, folder: Path) -> None:
    """Nothing: arrays in memory, or the tars of ``ours``."""
    raise NotImplementedError


def open_passes(job: Job) -> Callable[[], Batches]:
    """Return passes of the option; the numbers are random bits where nothing is done with them."""
    case = job.case
    if job.option == "read":
        return lambda: _read_pass(job)
    bits = np.random.default_rng(0).integers(
        -(2**15), 2**15, (case.num_samples, case.values), dtype=np.int16
    )
    rows = torch.from_numpy(bits)
    if job.option == "gather-float32":  # arithmetic on odd numbers takes longer
        rows = torch.randn(case.values).to(job.dtype).view(torch.int16).repeat(case.num_samples, 1)
    buffer = torch.empty(case.batch_size, case.values, dtype=torch.int16)
    per_channel = (case.shape[0], *(1 for _ in case.shape[1:]))
    means, scales = torch.full(per_channel, 0.1), torch.full(per_channel, 1.7)

    def one_pass() -> Batches:
        order = torch.randperm(case.num_samples)
        for start in range(0, case.num_samples - case.batch_size + 1, case.batch_size):
            stop = start + case.batch_size
            if job.option == "memcpy":
                yield delivered(buffer.copy_(rows[start:stop]), job)
            elif job.option == "gather-float32":
                picked = torch.index_select(rows, 0, order[start:stop])
                yield (delivered(picked, job).float() - means) / scales
            elif job.option == "gather":
                yield delivered(torch.index_select(rows, 0, order[start:stop]), job)
            else:
                picked = torch.index_select(rows, 0, order[start:stop], out=buffer)
                yield delivered(picked, job)

    return one_pass


def _read_pass(job: Job) -> Batches:
    buffer = torch.empty(job.case.batch_size, job.case.values, dtype=torch.int16)
    view = memoryview(buffer.numpy()).cast("B")
    for path in tars_of(job.folder):
        with path.open("rb", buffering=0) as file:
            while file.readinto(view) == len(view):
                yield delivered(buffer, job)
