"""How often the tars of a remote store are fetched in an epoch, by filter, window and cache.

    PYTHONPATH=CHECKOUT python tests/benchmarks/fetches.py

Counts, no times: a store in memory, 60 tars of 256 rows, read through a cache in batches of 64 for
one epoch by one rank, in the order of the checkout that PYTHONPATH names. Not a test.
"""

import itertools
import tempfile

from latentcache.core.media import Bucket
from latentcache.loader import LatentLoader, LoaderOptions, Source
from latentcache.store import Store
from latentcache.testing.synthetic import (
    SyntheticColumn,
    add_annotation,
    add_column,
    add_generation,
)

NUM_SHARDS, ROWS, BATCH = 60, 256, 64
FILTERS = {
    "all": {},
    "split train": {"split": "train", "holdout": 0.01},
    "a tenth, even": {"filter": "score < 10"},
    "uneven by tar": {"filter": "mostly == 1"},
}


def make(share: float) -> Store:
    """Return a store of which a share of the rows is missing."""
    store = Store.create(f"memory://fetches/{share}")
    generation = add_generation(store, [(Bucket(1, 64, 64), NUM_SHARDS * ROWS, ROWS)])
    add_annotation(store, generation, "score", lambda shard, row: (31 * row + 17 * shard) % 100)
    add_annotation(store, generation, "mostly", lambda shard, row: int(row % (1 + shard % 7) == 0))
    every = round(1 / share) if share else 0
    gone = range(3, NUM_SHARDS * ROWS, every) if every else ()
    rejected = frozenset((at // ROWS, at % ROWS) for at in gone)
    add_column(store, SyntheticColumn(rejected=rejected))
    return store


def fetched(store: Store, selection: dict[str, object], window: int, num_windows: int) -> float:
    """Return the fetches of an epoch over the tars, those made ahead for the next one left out."""
    units = store.snapshot().column("latents").units()
    tar_bytes = max(entry.tar.size_bytes for entry in units if entry.tar)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        size = num_windows * window * tar_bytes
        options = LoaderOptions(window_shards=window, cache=folder, cache_bytes=size)
        source = Source(store=store, **selection)  # type: ignore[arg-type]  # as FILTERS has them
        loader = LatentLoader(source, global_batch_size=BATCH, normalize=False, options=options)
        (stream,) = loader.coverage()
        for _ in itertools.islice(loader, stream.num_rows // BATCH):
            pass
        loader._cache.wait()  # type: ignore[union-attr]  # what is under way writes into the folder
        progress = loader.cache_progress()
        assert progress is not None
        return max(NUM_SHARDS, progress.num_fetched - window) / NUM_SHARDS


def main() -> None:
    """Print a table."""
    print("| rows missing | filter | window | cache, windows | fetches an epoch over tars |")
    print("| --- | --- | --- | --- | --- |")
    for share in (0.0, 0.01, 0.05):
        store = make(share)
        for name, selection in FILTERS.items():
            for window, num_windows in ((2, 2), (2, 4), (8, 2)):
                ratio = fetched(store, selection, window, num_windows)
                print(
                    f"| {share:.0%} | {name} | {window} | {num_windows} | {ratio:.2f} |", flush=True
                )


if __name__ == "__main__":
    main()
