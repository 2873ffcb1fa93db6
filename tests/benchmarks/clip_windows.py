"""Windows of long clips against clips read whole: the same bytes a batch; not a test.

    python -m tests.benchmarks.clip_windows [--size 480 832] [--frames 5] [--rounds 40]

Both stores hold as much, so neither lies in the processor's cache alone. Times are the least of
all rounds, taken in turns. The last lines say what many clips of lengths of their own cost.
"""

import argparse
import logging
import tempfile
import time
from pathlib import Path

import torch

from latentcache.core.media import Bucket
from latentcache.loader import LatentLoader, LoaderOptions
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation

CHANNELS, BATCH, BATCHES_A_ROUND, NUM_WHOLE = 16, 8, 5, 128
LENGTHS = (4, 8)
"""Of long clips, in windows."""


def make(folder: Path, runs: list[tuple[Bucket, int, int]], *, channels: int = CHANNELS) -> Store:
    """Return a store of drawn clips: (bucket, rows, rows per shard) each."""
    store = Store.create(folder)
    add_generation(store, runs)
    add_column(store, SyntheticColumn(is_video=True, channels=channels))
    return store


def pixel_frames(num_latents: int) -> int:
    """Return the frames of a clip of so many latent frames."""
    return 1 + 4 * (num_latents - 1)


def compare(folder: Path, frames: int, size: tuple[int, int], rounds: int) -> None:
    """Print a line each for raw and for normalized latents."""
    whole = make(folder / "whole", [(Bucket(pixel_frames(frames), *size), NUM_WHOLE, 16)])
    count = NUM_WHOLE // sum(LENGTHS)
    runs = [(Bucket(pixel_frames(frames * times), *size), count, 1) for times in LENGTHS]
    long = make(folder / "long", runs)
    print("| latents | whole, ms | windows, ms | whole, GB/s | windows, GB/s | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for normalize in (False, True):
        loaders = {
            "whole": LatentLoader(whole, global_batch_size=BATCH, normalize=normalize),
            "long": LatentLoader(
                long,
                global_batch_size=BATCH,
                normalize=normalize,
                options=LoaderOptions(window_frames=frames),
            ),
        }
        iterators = {name: iter(loader) for name, loader in loaders.items()}
        for iterator in iterators.values():  # every tar is mapped, every page was touched
            for _ in range(8 * NUM_WHOLE // BATCH):
                next(iterator)
        best = dict.fromkeys(iterators, float("inf"))
        for _ in range(rounds):
            for name, iterator in iterators.items():
                began = time.perf_counter()
                for _ in range(BATCHES_A_ROUND):
                    batch = next(iterator)
                took = (time.perf_counter() - began) / BATCHES_A_ROUND
                best[name] = min(best[name], took)
        stored = batch["latents"].numel() * 2
        print(
            f"| {'normalized' if normalize else 'as stored'} "
            f"| {best['whole'] * 1e3:.2f} | {best['long'] * 1e3:.2f} "
            f"| {stored / best['whole'] / 1e9:.2f} | {stored / best['long'] / 1e9:.2f} "
            f"| {best['whole'] / best['long']:.2f} |",
            flush=True,
        )


def many(folder: Path, count: int) -> None:
    """Print what clips of as many lengths, each with a tar of its own, cost to open and read."""
    runs = [(Bucket(pixel_frames(9 + number), 64, 64), 1, 1) for number in range(count)]
    store = make(folder / "many", runs, channels=4)
    options = LoaderOptions(window_frames=8)
    began = time.perf_counter()
    iterator = iter(LatentLoader(store, global_batch_size=64, options=options))
    next(iterator)
    print(f"{count} lengths: first batch after {time.perf_counter() - began:.2f} s")
    for _ in range(count // 64 + 1):
        next(iterator)
    began = time.perf_counter()
    for _ in range(50):
        next(iterator)
    print(f"{count} lengths: {(time.perf_counter() - began) / 50 * 1e3:.2f} ms a batch of 64")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=[480, 832])
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--many", type=int, default=500)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="clip-windows-") as folder:
        compare(Path(folder), given.frames, (given.size[0], given.size[1]), given.rounds)
        many(Path(folder), given.many)


if __name__ == "__main__":
    main()
