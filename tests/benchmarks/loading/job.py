"""What a measuring process is told, and what a competitor's module offers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from tests.benchmarks.loading.cases import Case

Array = np.ndarray[Any, Any]
Batches = Iterator[torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One competitor on one case.

    Attributes:
        case: What is loaded.
        folder: The competitor's data set.
        option: Which way of several, by name.
        workers: Worker processes; 0 reads in the process itself.
        threads: Torch threads.
    """

    case: Case
    folder: Path
    option: str = ""
    workers: int = 0
    threads: int = 1

    @property
    def dtype(self) -> torch.dtype:
        """What a batch must have."""
        return torch.float16 if self.case.dtype == "float16" else torch.bfloat16


class Competitor(Protocol):
    """A module of ``peers``."""

    def write(self, case: Case, folder: Path) -> None:
        """Make the data set in an empty folder, with the competitor's own writer."""

    def open_passes(self, job: Job) -> Callable[[], Batches]:
        """Return what gives one pass over the data as batches, each time it is called."""


def storable(block: Array, case: Case) -> Array:
    """Return bits as numbers that numpy has: float16, or int16 in bfloat16's place."""
    return block.view(np.float16 if case.dtype == "float16" else np.int16)


def delivered(batch: torch.Tensor, job: Job) -> torch.Tensor:
    """Return what ``storable`` stored as latents of the case's shape and dtype."""
    return batch.view(job.dtype).view(-1, *job.case.shape)
