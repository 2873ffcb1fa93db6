"""Columns of texts: captions per second, bytes per caption, and what they cost a loader.

    .venv/bin/python tests/benchmarks/texts.py [--rows 20000] [--batches 200]

Draws a plan of so many rows with captions of 5 to 60 words of which a tenth are distinct, encodes
them with a word tower (no weights: measured is everything around a model), and reads batches
of latents alone and with ragged texts, mask and pooled vectors, in turn, warm.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from latentcache.core.media import Bucket
from latentcache.loader import LatentLoader
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    Resources,
    SilentReporter,
    encode_column,
)
from latentcache.stats import ColumnStatistics
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation

ENCODER = "latentcache.testing.text_fakes:WordTower?max_length=64"
ROWS_PER_SHARD = 1024


def captions(num_rows: int, num_distinct: int) -> list[str]:
    """Return captions, each of 5 to 60 words, drawn from so many."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(5, 60, num_distinct)
    texts = [" ".join(f"w{word}" for word in draw.integers(0, 5000, n)) for n in lengths]
    return [texts[index] for index in draw.integers(0, num_distinct, num_rows)]


def make_store(path: Path, texts: list[str], size_px: int) -> Store:
    """Return a store of latents and captions."""
    store = Store.create(path)
    add_generation(store, [(Bucket(1, size_px, size_px), len(texts), ROWS_PER_SHARD)])
    add_column(store, SyntheticColumn(channels=16, rows_per_unit=ROWS_PER_SHARD))
    (generation,) = store.generations()
    shards, rows = np.divmod(np.arange(len(texts)), ROWS_PER_SHARD)
    table = pa.table({"shard": shards, "row": rows, "value": pa.array(texts, pa.string())})
    store.write_annotations(generation, "caption", [table])
    return store


def encode(store: Store) -> float:
    """Return the seconds that encoding took, without starting the worker."""
    request = EncodeRequest(
        column="text",
        encode=EncodeOptions(encoder=ENCODER, input="text:caption"),
        resources=Resources(num_actors=1, without_ray=10**9),
    )
    return encode_column(store.folder.url, request, reporter=SilentReporter()).elapsed_s


def samples_per_s(store: Store, columns: list[str], num_batches: int) -> float:
    """Return how many samples a loader gives in a second, warm."""
    loader = LatentLoader(store, columns=columns, global_batch_size=64, seed=1)
    batches = iter(loader)
    for batch in itertools.islice(batches, 10):
        dict(batch)
    start_s = time.perf_counter()
    for batch in itertools.islice(batches, num_batches):
        for name in columns:
            batch[name]
    return 64 * num_batches / (time.perf_counter() - start_s)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="latentcache-texts-") as home:
        for name, share in (("a tenth distinct", 0.1), ("all distinct", 1.0)):
            texts = captions(options.rows, round(options.rows * share))
            store = make_store(Path(home) / name, texts, 64)
            elapsed_s = encode(store)
            view = store.snapshot().columns["text"]
            states = ColumnStatistics.from_arrays(view.statistics()).latents["z"].pooled
            num_tokens = float(np.ravel(states.moments.count)[0])
            width = view.record.fields[0].channels or 0
            print(
                f"{name}: {options.rows / elapsed_s:,.0f} captions/s, "
                f"{view.num_bytes / options.rows:,.0f} bytes a caption in the tar; payload "
                f"{num_tokens * width * 2 / options.rows:,.0f} ragged, {64 * width * 2:,} padded"
            )
        texts = captions(4096, 4096)
        store = make_store(Path(home) / "loader", texts, options.size)
        encode(store)
        found: dict[str, list[float]] = {"latents": [], "latents + text": []}
        for _ in range(5):
            found["latents"].append(samples_per_s(store, ["latents"], options.batches))
            columns = ["latents", "text"]
            found["latents + text"].append(samples_per_s(store, columns, options.batches))
        ratios = np.divide(found["latents + text"], found["latents"])
        for name, each in found.items():
            print(
                f"{name}: {np.median(each):,.0f} samples/s ({min(each):,.0f} to {max(each):,.0f})"
            )
        print(f"ratio: {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})")


if __name__ == "__main__":
    main()
