"""Two columns in two passes against the same two in one; not a test.

    python -m tests.benchmarks.one_pass --photos FOLDER [FOLDER ...] [--mpx 12] [--samples 96]

Photos of 1.6 to 12 Mpx, or such photos enlarged with Pillow (``--mpx``), and two encoders that
cost next to nothing, so that decoding dominates. CPU time is that of all processes of a run, this
one included, from /proc; wall time is from the first unit given out to the last one committed. What
a run takes before its first unit (workers that import torch) is measured on a store of one photo:
two passes pay it twice. A round is two passes and one pass, each over a fresh copy of one planned
store.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    PlanRequest,
    Resources,
    SilentReporter,
    encode_columns,
    plan_corpus,
)

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PIXELS = (1_600_000, 12_600_000)
COLUMNS = {"latents": "dct", "coarse": "dct:keep=4"}


class CpuTime:
    """Sums the CPU time of this process and all below it, whoever reaps them."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._is_over.wait(0.05):
            self._look()

    def _look(self) -> None:
        for pid in _descendants(os.getpid()):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            self._seen[pid] = (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    @contextmanager
    def measured(self) -> Iterator[list[float]]:
        """Yield a list that holds the seconds afterwards."""
        found: list[float] = []
        own = time.process_time()
        self._thread.start()
        try:
            yield found
        finally:
            self._look()
            self._is_over.set()
            self._thread.join()
            self._look()
            found.append(sum(self._seen.values()) + time.process_time() - own)


def _descendants(root: int) -> list[int]:
    found, left = [], [root]
    while left:
        pid = left.pop()
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                left += (children := [int(text) for text in task.read_text().split()])
            except OSError:
                continue
            found += children
    return found


def photos_of(folders: list[Path]) -> list[Path]:
    """Return the photos of the right size."""
    found = []
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg"):
            with Image.open(path) as image:
                if PIXELS[0] <= image.width * image.height <= PIXELS[1]:
                    found.append(path)
    return found


def enlarged(photos: list[Path], folder: Path, mpx: float) -> list[Path]:
    """Return copies of photos with so many million pixels."""
    folder.mkdir()
    found = []
    for photo in photos:
        with Image.open(photo) as image:
            scale = (mpx * 1e6 / (image.width * image.height)) ** 0.5
            size = (round(image.width * scale), round(image.height * scale))
            image.convert("RGB").resize(size).save(folder / f"{photo.stem}.jpg", quality=90)
        found.append(folder / f"{photo.stem}.jpg")
    return found


def planned(photos: list[Path], folder: Path, num_samples: int) -> Path:
    """Return a store that is planned over ``num_samples`` names of photos."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for number in range(num_samples):
        photo = photos[number % len(photos)]
        (corpus / f"{number:05d}{photo.suffix}").symlink_to(photo.resolve())
    plan = PlanRequest(
        corpus_url=str(corpus),
        options=PlanOptions(resolution_px=256, rows_per_shard=64),
        resources=Resources(),
    )
    plan_corpus(str(folder / "store"), plan, reporter=SilentReporter())
    return folder / "store"


def measured(store: Path, passes: list[dict[str, str]]) -> tuple[float, float]:
    """Return CPU and wall seconds of passes over a copy of ``store``."""
    copy = store.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(store, copy)
    cpu_s = wall_s = 0.0
    for columns in passes:
        requests = [
            EncodeRequest(column=name, encode=EncodeOptions(encoder=encoder), resources=Resources())
            for name, encoder in columns.items()
        ]
        with CpuTime().measured() as seconds:
            results = encode_columns(str(copy), requests, reporter=SilentReporter())
        cpu_s += seconds[0]
        wall_s += max(result.elapsed_s for result in results)
        assert all(result.missing == 0 for result in results)
    return cpu_s, wall_s


def main() -> None:
    """Print a row per round, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--mpx", type=float, default=0.0)
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    photos = photos_of(asked.photos)
    two = [{name: encoder} for name, encoder in COLUMNS.items()]
    with tempfile.TemporaryDirectory(prefix="one-pass-") as scratch:
        if asked.mpx:
            photos = enlarged(photos, Path(scratch) / "photos", asked.mpx)
        mean_mpx = statistics.fmean(size_of(path) for path in photos) / 1e6
        print(f"{len(photos)} photos, mean {mean_mpx:.1f} Mpx, {asked.samples} samples", flush=True)
        single = planned(photos, Path(scratch) / "single", 1)
        store = planned(photos, Path(scratch) / "all", asked.samples)
        rows = []
        begin_s, _ = measured(single, [COLUMNS])
        for number in range(asked.rounds):
            cpu_two, wall_two = measured(store, two)
            cpu_one, wall_one = measured(store, [COLUMNS])
            work = (cpu_one - begin_s) / (cpu_two - 2 * begin_s)
            rows.append((cpu_two, cpu_one, cpu_one / cpu_two, begin_s, work, wall_two, wall_one))
            load = " ".join(f"{each:.1f}" for each in os.getloadavg())
            print(
                f"round {number + 1}: CPU {cpu_two:.1f} s in two passes, {cpu_one:.1f} s in one "
                f"({cpu_one / cpu_two:.2f}); {begin_s:.1f} s to begin a run, without it "
                f"{work:.2f}; wall {wall_two:.1f} s and {wall_one:.1f} s "
                f"({wall_one / wall_two:.2f}); load {load}",
                flush=True,
            )
    middle = [statistics.median(column) for column in zip(*rows, strict=True)]
    print(
        f"medians: CPU {middle[0]:.1f} s and {middle[1]:.1f} s ({middle[2]:.2f}), without the "
        f"start {middle[4]:.2f}; wall {middle[5]:.1f} s and {middle[6]:.1f} s"
    )


def size_of(path: Path) -> int:
    """Return the pixels of a photo."""
    with Image.open(path) as image:
        return image.width * image.height


if __name__ == "__main__":
    main()
