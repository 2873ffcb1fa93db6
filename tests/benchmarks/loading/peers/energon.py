"""Megatron-Energon on the tars of our own store, prepared by its own indexer."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from megatron.energon import (
    Cooker,
    DefaultTaskEncoder,
    Sample,
    WorkerConfig,
    basic_sample_keys,
    get_loader,
    get_train_dataset,
    stateless,
)
from megatron.energon.flavors.webdataset import BaseWebdatasetFactory

from tests.benchmarks.loading.cases import Case
from tests.benchmarks.loading.job import Batches, Job
from tests.benchmarks.loading.peers.webdataset import MEMBER, decode, tars_of

DATASET_YAML = """__module__: megatron.energon
__class__: CrudeWebdataset
"""
SEQUENCE = 100
"""Samples read in a row from a place in a shard; the value of their examples."""


def write(case: Case, folder: Path) -> None:
    """Index hard links to the tars of ``ours``, which must be there."""
    names = []
    for path in tars_of(folder.parent / "ours"):
        os.link(path, folder / path.name)
        names.append(path.name)
    BaseWebdatasetFactory.prepare_dataset(
        folder, names, split_parts_ratio=[("train", 1.0)], workers=1
    )
    (folder / ".nv-meta" / "dataset.yaml").write_text(DATASET_YAML)


@dataclass
class Latent(Sample):  # type: ignore[misc]  comes untyped
    """What the cooker makes."""

    z: torch.Tensor


@stateless
def cook(sample: dict[str, Any]) -> Latent:
    """Return the sample with its latent decoded."""
    return Latent(**basic_sample_keys(sample), z=decode(sample[MEMBER]))


class LatentTasks(DefaultTaskEncoder):  # type: ignore[misc]
    """Cooks; batching is the default."""

    cookers = [Cooker(cook)]  # noqa: RUF012  the name and form are theirs


def open_passes(job: Job) -> Callable[[], Batches]:
    """Return passes of the endless loader, a data set's length each."""
    workers = WorkerConfig(rank=0, world_size=1, num_workers=job.workers)
    dataset = get_train_dataset(
        job.folder,
        worker_config=workers,
        batch_size=job.case.batch_size,
        shuffle_buffer_size=job.case.buffer,
        max_samples_per_sequence=SEQUENCE,
        task_encoder=LatentTasks(),
    )
    batches = iter(get_loader(dataset))
    size = job.case.num_samples // job.case.batch_size
    return lambda: (batch.z for batch in islice(batches, size))
