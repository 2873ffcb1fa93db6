"""latentcache: ``LatentLoader`` over a store made by the real writers.

Options: ``raw`` (fields as stored, global permutation), ``float32`` and ``bfloat16``
(normalized), ``captions`` (raw, and a caption per sample), ``window`` (raw, whole shards in
shuffled order, rows shuffled among ``window_shards`` of them).
Large rows are copied by threads of its own, one a core.
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from latentcache.loader import LatentLoader, LoaderOptions
from latentcache.store import Store
from latentcache.testing.synthetic import add_annotation, add_column, add_generation
from tests.benchmarks.loading.cases import Case, bucket_of, column_of
from tests.benchmarks.loading.job import Batches, Job

WORDS = "a photograph of the old harbour at dusk, boats in front, warm light, film grain, 35 mm"


def write(case: Case, folder: Path) -> None:
    """Make the store that ``synthetic_store`` would make, with captions of some 100 letters."""
    write_shards(case, folder, case.rows_per_shard)


def write_shards(case: Case, folder: Path, rows_per_shard: int) -> None:
    """Make a store of shards of a given size."""
    store = Store.create(folder / "store")
    generation = add_generation(store, [(bucket_of(case), case.num_samples, rows_per_shard)])
    add_annotation(
        store,
        generation,
        "caption",
        lambda shard, row: f"{shard * rows_per_shard + row:08d}: {WORDS}",
    )
    add_column(store, column_of(case))


def make_loader(job: Job, option: str) -> LatentLoader:
    """Return the loader as a training script would make it."""
    window = job.case.window_shards if option == "window" else 0
    columns = ["latents", "caption"] if option == "captions" else ["latents"]
    return LatentLoader(
        str(job.folder / "store"),
        columns=columns,
        global_batch_size=job.case.batch_size,
        rank=0,
        world_size=1,
        normalize=option in ("float32", "bfloat16"),
        options=LoaderOptions(
            window_shards=window, dtype="bfloat16" if option == "bfloat16" else "float32"
        ),
    )


def open_passes(job: Job) -> Callable[[], Batches]:
    """Return passes of one epoch each; the loader itself has no end."""
    loader = make_loader(job, job.option)
    batches = iter(loader)

    def one_pass() -> Batches:
        for batch in islice(batches, len(loader)):
            if job.option == "captions":
                _expect_strings(batch["caption"])
            yield batch["latents"]

    return one_pass


def raw_of_normalized(job: Job, normalized: torch.Tensor) -> torch.Tensor:
    """Return the raw latents of the first batch, which ``normalized`` must have come from."""
    raw: torch.Tensor = next(iter(make_loader(job, "raw")))["latents"]
    expected = make_loader(job, "float32").normalizer.apply(raw)
    rounding = 2**-8 if normalized.dtype == torch.bfloat16 else 1e-5
    assert torch.allclose(normalized.float(), expected, rounding, 1e-6), "normalized otherwise"
    return raw


def _expect_strings(captions: Any) -> None:
    assert isinstance(captions[0], str), "captions were asked for"
