"""Loader tests run on one thread: the machine is shared, and order must not depend on it."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from hypothesis import settings

from latentcache.core.media import Bucket
from latentcache.store import Snapshot, Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.law_examples import examples
from tests.loader.forked_ranks import Forks, forks

settings.register_profile("loader", examples(25))
settings.load_profile("loader")

SQUARE, WIDE = Bucket(1, 64, 64), Bucket(1, 32, 96)
LATENTS = SyntheticColumn(
    has_logvar=True,
    dtype="bfloat16",
    rows_per_unit=16,
    rejected=frozenset({(0, 3), (1, 7), (3, 0), *((2, row) for row in range(16))}),
)
DINO = SyntheticColumn(name="dino", channels=6, dtype="float16", spatial_factor=16, seed=1)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


def make_store(path: Path | str) -> Store:
    """Return a store with two buckets, two columns, captions and scores, and lost rows."""
    store = Store.create(path)
    (generation,) = [add_generation(store, [(SQUARE, 100, 40), (WIDE, 40, 16)], clips_per_medium=3)]
    places = [
        (shard, row)
        for run in generation.runs
        for shard in range(run.first_shard, run.first_shard + run.num_shards)
        for row in range(run.rows_in_shard(shard))
    ]
    values = {
        "caption": [None if row == 5 else f"sample {shard} {row}" for shard, row in places],
        "captions": [[f"{name} {shard} {row}" for name in "abc"] for shard, row in places],
        "label": [row % 4 for _, row in places],
    }
    shards, rows = zip(*places, strict=True)
    for name, column in values.items():
        table = pa.table({"shard": shards, "row": rows, "value": column})
        store.write_annotations(generation, name, [table])
    add_column(store, LATENTS)
    add_column(store, DINO)
    return store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that no test changes."""
    return make_store(tmp_path_factory.mktemp("loader") / "store")


@pytest.fixture(scope="session")
def snapshot(store: Store) -> Snapshot:
    return store.snapshot()


@pytest.fixture(scope="session")
def framework_forks() -> Iterator[Forks]:
    """What forks ranks that have the frameworks imported."""
    with forks() as found:
        yield found
