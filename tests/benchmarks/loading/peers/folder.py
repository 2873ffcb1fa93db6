"""A folder of safetensors files, a ``DataLoader`` and its sampler: what everybody starts with."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset

from tests.benchmarks.loading.cases import Case, iter_blocks
from tests.benchmarks.loading.job import Batches, Job, delivered, storable

PER_FOLDER = 1000


def write(case: Case, folder: Path) -> None:
    """Write one file a sample, a thousand to a folder."""
    number = 0
    for block in iter_blocks(case):
        for row in torch.from_numpy(storable(block, case)):
            path = _path(folder, number)
            path.parent.mkdir(exist_ok=True)
            save_file({"z": row.clone()}, path)
            number += 1


class Files(Dataset[torch.Tensor]):
    """The files by number."""

    def __init__(self, folder: Path, num_samples: int) -> None:
        self.folder, self.num_samples = folder, num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, number: int) -> torch.Tensor:
        return load_file(_path(self.folder, number))["z"]


def open_passes(job: Job) -> Callable[[], Batches]:
    """Return passes of a shuffling ``DataLoader``."""
    loader = DataLoader(
        Files(job.folder, job.case.num_samples),
        batch_size=job.case.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=job.workers,
        persistent_workers=job.workers > 0,
    )
    return lambda: (delivered(batch, job) for batch in loader)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number // PER_FOLDER:04d}" / f"{number:08d}.safetensors"
