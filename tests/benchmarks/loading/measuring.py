"""A measuring process: ``python -m tests.benchmarks.loading.measuring SPEC``.

It opens one competitor, runs it warm or cold, compares the first batch with the source to the
bit, and prints one line of JSON. Nothing else is loaded into it.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.loading.cases import CASES, digests_of
from tests.benchmarks.loading.job import Batches, Job

MARK = "RESULT "
PAGE_BYTES = 4096

Passes = Callable[[], Batches]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What the process is told; plain values."""

    case: str
    num_samples: int
    module: str
    folder: str
    digests: str
    option: str
    workers: int
    threads: int
    cores: int
    is_cold: bool
    warm_up_s: float
    measure_s: float
    longest_s: float

    def job(self) -> Job:
        """Return what a competitor's module takes."""
        return Job(
            case=CASES[self.case].of(self.num_samples),
            folder=Path(self.folder),
            option=self.option,
            workers=self.workers,
            threads=self.threads,
        )


def main() -> None:
    """Measure and print."""
    spec = Spec(**json.loads(sys.argv[1]))
    torch.set_num_threads(spec.threads)
    if spec.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: spec.cores])
    job = spec.job()
    module: Any = importlib.import_module(f"tests.benchmarks.loading.peers.{spec.module}")
    before = time.perf_counter()
    passes = module.open_passes(job)
    open_s = time.perf_counter() - before
    measured = _cold(passes, spec) if spec.is_cold else _warm(passes, spec)
    first = measured.pop("first")
    if spec.option in ("float32", "bfloat16"):
        first = module.raw_of_normalized(job, first)
    facts = {} if spec.module == "limits" else _checked(first, job, spec.digests)
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(MARK + json.dumps({"open_s": open_s, **measured, **facts, "peak_rss_kib": kib}))
    sys.stdout.flush()


def _cold(passes: Passes, spec: Spec) -> dict[str, Any]:
    """Run one pass, at most ``longest_s``; the first batch counts."""
    num_samples, first, first_s = 0, None, 0.0
    began = time.perf_counter()
    for batch in passes():
        # What a lazy map has not read yet is read here, a byte a page.
        batch.view(torch.uint8).view(-1)[::PAGE_BYTES].sum()
        elapsed = time.perf_counter() - began
        if first is None:
            first, first_s = batch.clone(), elapsed
        num_samples += len(batch)
        if elapsed > spec.longest_s:
            break
    return {
        "samples_per_s": num_samples / elapsed,
        "first_batch_s": first_s,
        "num_samples": num_samples,
        "first": first,
    }


def _warm(passes: Passes, spec: Spec) -> dict[str, Any]:
    """Run one pass or ``warm_up_s`` uncounted, then passes until ``measure_s`` are counted.

    The change of passes, which may start processes anew, is left out: a pass counts from its
    first batch on. It is run to its end if ``longest_s`` allow, as filling a shuffle buffer
    at the start is paid back at the end.
    """
    opened = time.perf_counter()
    warm_up = _timed(passes(), spec.warm_up_s)
    first = warm_up.pop("first")
    num_samples, elapsed, num_passes = 0, 0.0, 0
    while elapsed < spec.measure_s:
        one = _timed(passes(), spec.longest_s)
        num_samples += one["num_samples"]
        elapsed += one["elapsed_s"]
        num_passes += 1
    return {
        "samples_per_s": num_samples / elapsed,
        "first_pass_samples_per_s": warm_up["num_samples"] / max(warm_up["elapsed_s"], 1e-9),
        "num_samples": num_samples,
        "num_passes": num_passes,
        "total_s": time.perf_counter() - opened,
        "first": first,
    }


def _timed(batches: Batches, limit_s: float) -> dict[str, Any]:
    first = next(batches).clone()
    num_samples = 0
    elapsed = 0.0
    began = time.perf_counter()
    for batch in batches:
        num_samples += len(batch)
        elapsed = time.perf_counter() - began
        if elapsed > limit_s:
            break
    return {"num_samples": num_samples, "elapsed_s": elapsed, "first": first}


def _checked(first: torch.Tensor, job: Job, digests_path: str) -> dict[str, Any]:
    """Compare a batch with the source and say how far apart in it its rows lie.

    Raises:
        AssertionError: It is not rows of the source, to the bit.
    """
    shape = (job.case.batch_size, *job.case.shape)
    assert first.shape == shape, f"batch must be {shape}, got {tuple(first.shape)}"
    assert first.dtype == job.dtype, f"batch must be {job.dtype}, got {first.dtype}"
    source = np.load(digests_path)
    order = np.argsort(source)
    digests = digests_of(first.contiguous().view(torch.int16).numpy())
    places = np.searchsorted(source, digests, sorter=order)
    rows = order[np.minimum(places, len(source) - 1)]
    assert (source[rows] == digests).all(), "batch differs from the source latents"
    assert len(np.unique(rows)) == len(rows), "batch has a row twice"
    return {"reach": float(rows.max() - rows.min() + 1) / len(source)}


if __name__ == "__main__":
    main()
