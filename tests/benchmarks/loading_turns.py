"""What a batch costs in one checkout against another: both take turns, in processes of their own.

    python -m tests.benchmarks.loading_turns --old FOLDER [--new .] [--num-samples 100000]
        [--turns 15] [--batches 120]

The store is case a of ``tests.benchmarks.loading`` (4x32x32 float16, 8 KiB a row, with captions),
written by the old checkout and read warm. A turn is some batches of 256 in the old checkout, then
as many in the new one; the figures are the lowest CPU time of a batch over the turns, and the
median over the turns of new over old, with quartiles. Not a test.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "raw": {"normalize": False},
    "raw + captions": {"normalize": False, "columns": ["latents", "caption"]},
    "normalized float32": {},
    "window": {"normalize": False, "options": {"window_shards": 2}},
    "raw, 1 % missing": {"normalize": False, "store": "missing"},
    "window, 1 % missing": {
        "normalize": False,
        "options": {"window_shards": 2},
        "store": "missing",
    },
}

MAKE = """
import sys
from latentcache.core.media import Bucket
from latentcache.store import Store
from latentcache.testing import synthetic as made
folder, num, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for name in ("whole", "missing"):
    store = Store.create(f"{folder}/{name}")
    generation = made.add_generation(store, [(Bucket(1, 256, 256), num, rows)])
    made.add_annotation(store, generation, "caption", lambda shard, row: f"{row:016d}" + 90 * "w")
    gone = range(7, num if name == "missing" else 0, 100)
    rejected = frozenset((at // rows, at % rows) for at in gone)
    made.add_column(store, made.SyntheticColumn(rejected=rejected))
"""
WORK = """
import json, resource, sys
from time import perf_counter
import torch
from latentcache.loader import LatentLoader, LoaderOptions
torch.set_num_threads(1)
folder, case, num = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
url = f"{folder}/{case.pop('store', 'whole')}"
options = LoaderOptions(**case.pop("options", {}))
loader = LatentLoader(url, global_batch_size=256, options=options, **case)
batches = iter(loader)
names = case.get("columns", ["latents"])
def some(count):
    def spent():
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime
    cpu, wall = spent(), perf_counter()
    for _ in range(count):
        batch = next(batches)
        for name in names:
            batch[name]
    return 1e6 * (spent() - cpu) / count, 1e6 * (perf_counter() - wall) / count
some(len(loader))
print("ready", flush=True)
for _ in sys.stdin:
    print(json.dumps(some(num)), flush=True)
"""


class Side:
    """One checkout's process."""

    def __init__(self, checkout: Path, folder: str, case: str, num_batches: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORK, folder, json.dumps(CASES[case]), str(num_batches)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=_environment(checkout),
            cwd=folder,
        )
        self.turns: list[tuple[float, float]] = []
        self._line()

    def turn(self) -> None:
        """Run some batches."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.turns.append(tuple(json.loads(self._line())))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def _environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}


def main() -> None:
    """Prepare, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--new", type=Path, default=Path())
    parser.add_argument("--num-samples", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--batches", type=int, default=120)
    parser.add_argument("--case", nargs="*", default=list(CASES), choices=list(CASES))
    options = parser.parse_args()
    print("| case | old us | new us | new / old, CPU | quartiles | wall |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", MAKE, folder, str(options.num_samples), "8192"]
        subprocess.run(command, check=True, env=_environment(options.old), cwd=folder)
        for case in options.case:
            print(_measured(options, folder, case), flush=True)


def _measured(options: argparse.Namespace, folder: str, case: str) -> str:
    sides = [Side(one, folder, case, options.batches) for one in (options.old, options.new)]
    for number in range(options.turns):
        for side in sides if number % 2 else sides[::-1]:
            side.turn()
    for side in sides:
        side.close()
    old, new = (min(cpu for cpu, _ in side.turns) for side in sides)
    pairs = list(zip(*(side.turns for side in sides), strict=True))
    cpu = [now[0] / before[0] for before, now in pairs]
    low, middle, high = statistics.quantiles(cpu, n=4)
    wall = statistics.median(now[1] / before[1] for before, now in pairs)
    return (
        f"| {case} | {old:,.0f} | {new:,.0f} | {middle:.3f} | {low:.3f} to {high:.3f} | "
        f"{wall:.3f} |"
    )


if __name__ == "__main__":
    main()
