"""What importing another trainer's cache costs over a plain copy of its files.

    python tests/benchmarks/importing.py --samples 10000

Draws latents, writes them as SimpleTuner (a ``.pt`` a sample) and as LightningDiT (safetensors of
1,000) do, copies either with ``shutil.copytree`` and imports it. Both have been read once before.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from safetensors.torch import save_file

from latentcache.exchange import ImportRequest, import_cache

SHARD_ROWS = 1000


def write_simpletuner(root: Path, num_samples: int, shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    for number in range(num_samples):
        name = hashlib.sha256(f"picture {number}".encode()).hexdigest()
        torch.save(torch.randn(shape, generator=draw).half(), root / f"{name}.pt")


def write_lightningdit(root: Path, num_samples: int, shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    for number, start in enumerate(range(0, num_samples, SHARD_ROWS)):
        rows = min(SHARD_ROWS, num_samples - start)
        latents = torch.randn((rows, *shape), generator=draw).half()
        tensors = {"latents": latents, "labels": torch.arange(rows) % 10}
        save_file(tensors, root / f"latents_rank00_shard{number:03d}.safetensors")


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that something takes, and those of the processor, its processes' too."""
    started, busy = time.perf_counter(), os.times()
    work()
    after = os.times()
    return time.perf_counter() - started, sum(after[:4]) - sum(busy[:4])


def compare(root: Path, layout: str, samples: int, turn: int) -> str:
    """Return what a copy and an import of one cache took."""
    cache = root / "cache"
    size = sum(path.stat().st_size for path in cache.rglob("*"))
    request = ImportRequest(layout=layout, encoder="flux", kind="sample", is_checked=False)
    copied, copy_cpu = measured(lambda: shutil.copytree(cache, root / f"copy{turn}"))
    store = root / f"store{turn}"
    imported, cpu = measured(
        lambda: import_cache(cache, store, request, on_progress=lambda *_: None)
    )
    shutil.rmtree(root / f"copy{turn}")
    shutil.rmtree(store)
    return (
        f"{layout}: {samples:,} latents, {size / 1e6:,.0f} MB: copy {copied:.1f} s ({copy_cpu:.1f} "
        f"of the processor), import {imported:.1f} s ({cpu:.1f}), {1000 * cpu / samples:.2f} ms of "
        "the processor a latent"
    )


@click.command()
@click.option("--samples", default=10_000)
@click.option("--channels", default=16)
@click.option("--edge", default=32)
@click.option("--turns", default=2)
def main(samples: int, channels: int, edge: int, turns: int) -> None:
    writers = {"simpletuner": write_simpletuner, "lightningdit": write_lightningdit}
    for layout, write in writers.items():
        with tempfile.TemporaryDirectory(prefix="latentcache-importing-") as folder:
            (Path(folder) / "cache").mkdir()
            write(Path(folder) / "cache", samples, (channels, edge, edge))
            for turn in range(turns):
                print(compare(Path(folder), layout, samples, turn))


if __name__ == "__main__":
    main()
