"""webdataset on the tars of our own store: shards shuffled, then a shuffle buffer."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import webdataset as wds
from safetensors.torch import load

from tests.benchmarks.loading.cases import Case
from tests.benchmarks.loading.job import Batches, Job

MEMBER = "latents.safetensors"


def write(case: Case, folder: Path) -> None:
    """Nothing: the tars are those of ``ours``."""
    raise NotImplementedError


def tars_of(folder: Path) -> list[Path]:
    """Return the tars of the store in ``folder``."""
    return sorted((folder / "store").glob("encodings/*/*/shards/*.tar"))


def decode(content: bytes | io.BytesIO) -> torch.Tensor:
    """Return the latent in a member."""
    data = content if isinstance(content, bytes) else content.getvalue()
    return load(data)["z"]


def _latent(sample: dict[str, Any]) -> torch.Tensor:
    return decode(sample[MEMBER])


def open_passes(job: Job) -> Callable[[], Batches]:
    """Return passes of the fluent pipeline under ``WebLoader``; decoding follows the shuffle."""
    tars = [str(path) for path in tars_of(job.folder)]
    dataset = (
        wds.WebDataset(tars, shardshuffle=len(tars), empty_check=False)
        .shuffle(job.case.buffer)
        .map(_latent)
        .batched(job.case.batch_size, partial=False, collation_fn=torch.stack)
    )
    loader = wds.WebLoader(
        dataset,
        batch_size=None,
        num_workers=job.workers,
        persistent_workers=job.workers > 0,
    )
    return lambda: iter(loader)
