"""How long a loader takes to begin, to draw its first batch and to resume; not a test.

    python -m tests.benchmarks.start_up [--samples 100000000 ...] [--rounds 3]

Stores are sparse (``latentcache.testing.sparse``): real records and tables of that many
samples of 8 KiB, tars of holes. Every figure is the median of ``--rounds`` fresh processes
on a warm file cache, after one that is not counted. Open is from the constructor's call to
its return, imports not included; first batch is what comes on top; resume is a second
loader's open, ``load_state_dict`` at step 10 million and first batch, in the same process.
Memory is the process's peak over what it was after the imports, without the pages of mapped
files, which are the page cache's.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import click

STEP = 10_000_000
BATCH = 256
FIGURES = ("open_s", "first_batch_s", "resume_s", "peak_bytes")


@click.command()
@click.option("--samples", type=int, multiple=True, default=(10**6, 10**7, 10**8))
@click.option("--rows-per-shard", type=int, default=8192, show_default=True)
@click.option("--window-shards", type=int, default=0, show_default=True)
@click.option("--rounds", type=int, default=3, show_default=True)
@click.option("--store", help="Measure this store once and print JSON; what rounds call.")
def main(
    samples: tuple[int, ...], rows_per_shard: int, window_shards: int, rounds: int, store: str
) -> None:
    """Print a Markdown table of start-up times and memory."""
    if store:
        click.echo(json.dumps(measure(store, window_shards)))
        return
    click.echo("| samples | units | open s | first batch s | resume s | peak MB |")
    click.echo("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for num_samples in samples:
        with tempfile.TemporaryDirectory(prefix="latentcache-start-up-") as folder:
            size = (num_samples, rows_per_shard)
            click.echo(_row(Path(folder) / "store", size, window_shards, rounds))


def _row(path: Path, size: tuple[int, int], window_shards: int, rounds: int) -> str:
    from latentcache.testing.sparse import sparse_store  # noqa: PLC0415  only the parent makes it

    num_samples, rows_per_shard = size
    sparse_store(path, num_samples=num_samples, rows_per_shard=rows_per_shard)
    num_units = -(-num_samples // rows_per_shard)
    command = [sys.executable, "-m", "tests.benchmarks.start_up", "--store", str(path)]
    command += ["--window-shards", str(window_shards)]
    runs = []
    for number in range(rounds + 1):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        if number:  # the first one warms the file cache
            runs.append(json.loads(done.stdout))
    found = {name: statistics.median(run[name] for run in runs) for name in FIGURES}
    return (
        f"| {num_samples:,} | {num_units:,} | {found['open_s']:.3f} | "
        f"{found['first_batch_s']:.3f} | {found['resume_s']:.3f} | "
        f"{found['peak_bytes'] / 1e6:.0f} |"
    )


def measure(store: str, window_shards: int) -> dict[str, float]:
    """Return the figures of one process."""
    import torch  # noqa: PLC0415  imports come before the clock, and not in the parent

    from latentcache.loader import LatentLoader, LoaderOptions  # noqa: PLC0415

    torch.set_num_threads(1)
    before = _peak_bytes()
    options: dict[str, Any] = {
        "global_batch_size": BATCH,
        "options": LoaderOptions(window_shards=window_shards),
    }
    began = perf_counter()
    loader = LatentLoader(store, **options)
    opened = perf_counter()
    next(iter(loader))
    drawn = perf_counter()
    state = loader.state
    state["step"] = STEP
    state["positions"] = dict.fromkeys(state["streams"], STEP * BATCH)
    resuming = perf_counter()
    resumed = LatentLoader(store, **options)
    resumed.load_state_dict(state)
    next(iter(resumed))
    return {
        "open_s": opened - began,
        "first_batch_s": drawn - opened,
        "resume_s": perf_counter() - resuming,
        "peak_bytes": float(_peak_bytes() - before),
    }


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    # Maps stay, so what they hold at the peak is what they hold now.
    return (kib["VmHWM"] - kib["RssFile"]) * 1024


if __name__ == "__main__":
    main()
