"""HF datasets: an Arrow table on disk, memory-mapped.

Options: ``torch`` (map-style, torch format, shuffled by a ``DataLoader``), ``arrow`` (map-style,
one call per batch of a global permutation, Arrow table to tensor by hand), ``iterable``
(``to_iterable_dataset``, shards and a buffer shuffled, torch format).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader

from tests.benchmarks.loading.cases import Case, iter_blocks
from tests.benchmarks.loading.job import Batches, Job, delivered, storable

SHARDS = 16


def write(case: Case, folder: Path) -> None:
    """Write rows of a fixed length, through ``save_to_disk``."""
    number = "float16" if case.dtype == "float16" else "int16"
    row = datasets.Sequence(datasets.Value(number), length=case.values)
    features = datasets.Features({"z": row})
    tables = []
    for block in iter_blocks(case):
        flat = pa.array(storable(block, case).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, case.values)
        tables.append(pa.table({"z": column}))
    built = datasets.Dataset(
        datasets.table.InMemoryTable(pa.concat_tables(tables)),
        info=datasets.DatasetInfo(features=features),
    )
    built.save_to_disk(str(folder / "saved"), num_shards=SHARDS)


def open_passes(job: Job) -> Callable[[], Batches]:
    """Return passes in the way asked for."""
    rows = datasets.load_from_disk(str(job.folder / "saved"))
    # Without it their formatter turns float16 into float32 and int16 into int64.
    number = torch.float16 if job.case.dtype == "float16" else torch.int16
    if job.option == "arrow":
        return lambda: _arrow_pass(rows.with_format("arrow"), job)
    settings: dict[str, Any] = {
        "batch_size": job.case.batch_size,
        "drop_last": True,
        "num_workers": job.workers,
        "persistent_workers": job.workers > 0,
    }
    if job.option == "iterable":
        # A stream takes no dtype: widened by the formatter, its rows are narrowed again.
        streamed = rows.to_iterable_dataset(num_shards=SHARDS).with_format("torch")
        loader = DataLoader(streamed.shuffle(buffer_size=job.case.buffer), **settings)
    else:
        loader = DataLoader(rows.with_format("torch", dtype=number), shuffle=True, **settings)
    return lambda: (delivered(batch["z"].to(number), job) for batch in loader)


def _arrow_pass(rows: Any, job: Job) -> Batches:
    size = job.case.batch_size
    order = np.random.permutation(len(rows))
    for start in range(0, len(order) - size + 1, size):
        column = rows[order[start : start + size]].column("z").combine_chunks()
        values = column.flatten().to_numpy(zero_copy_only=True)
        yield delivered(torch.from_numpy(values.reshape(size, -1)), job)
