"""How much of the machine a build turns into decoding and encoding; not a test.

    python -m tests.benchmarks.pipeline --photos FOLDER [FOLDER ...] [--case dct ...]

Efficiency = (CPU seconds of the bare decode + CPU seconds of the bare encoder, on the same
samples, in the same run, one thread, at the run's batch size) / (wall seconds x cores).
Wall is from the first unit given out to the last one committed, statistics, writing,
hashing and commits included, Ray's start not. A run is thrown away and measured again if
other processes took more than 5 % of the machine (from /proc).
"""

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from latentcache.core.media import Bucket
from latentcache.decode import ImageLimits, ImageTransform, MediaTransform
from latentcache.encoders import EncoderOptions, SampleMeta, load_encoder
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
)
from latentcache.runner.batch_encoder import scaled_pixels
from latentcache.runner.collector import decode_rows_of
from latentcache.runner.decoding import DecodeOrder, DecodeSettings, decode_rows
from latentcache.storage import Folder
from latentcache.store import Store

CORES = os.cpu_count() or 1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SUFFIXES = {".jpg", ".jpeg", ".png"}
FOREIGN_LIMIT = 0.05
ENCODE_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table."""

    name: str
    encoder: str
    num_samples: int
    rows_per_shard: int = 512


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run."""

    num_samples: int
    decode_cpu_s: float
    encode_cpu_s: float
    wall_s: float
    foreign_share: float
    tree_cpu_s: float
    peak_pss_bytes: int

    @property
    def efficiency(self) -> float:
        return (self.decode_cpu_s + self.encode_cpu_s) / (self.wall_s * CORES)


class Watcher:
    """Samples /proc: CPU of processes that are not ours, CPU and memory of those that are."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._seen: dict[int, float] = {}
        self.foreign_s = self.ours_s = 0.0
        self.peak_pss_bytes = 0
        self.samples: list[tuple[float, float, float]] = []

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def between(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return (foreign, own) CPU seconds between two times of the monotonic clock."""
        inside = [each for each in self.samples if start_s <= each[0] <= end_s]
        if len(inside) < 2:
            return 0.0, 0.0
        return inside[-1][1] - inside[0][1], inside[-1][2] - inside[0][2]

    def _run(self) -> None:
        looks = 0
        # Summing the memory of large processes costs CPU that would count against the run.
        while not self._stop.wait(1.0):
            self._look(with_memory=looks % 5 == 0)
            looks += 1

    def _look(self, *, with_memory: bool) -> None:
        parents, cpu = {}, {}
        for pid, parent, seconds in _processes():
            parents[pid], cpu[pid] = parent, seconds
        pss = 0
        for pid, seconds in cpu.items():
            used = seconds - self._seen.get(pid, seconds if not self._seen else 0.0)
            is_ours = _is_below(pid, os.getpid(), parents)
            if is_ours:
                self.ours_s += used
                pss += _pss_bytes(pid) if with_memory else 0
            else:
                self.foreign_s += used
        self._seen = cpu
        self.peak_pss_bytes = max(self.peak_pss_bytes, pss)
        self.samples.append((time.monotonic(), self.foreign_s, self.ours_s))


def _processes() -> Iterator[tuple[int, int, float]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        yield int(entry.name), int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _is_below(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid in parents and pid != root:
        pid = parents[pid]
    return pid == root


def _pss_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def repeated_corpus(photos: list[Path], target: Path, num_samples: int) -> None:
    """Fill ``target`` with ``num_samples`` links to ``photos``, each under many names."""
    for index in range(num_samples):
        source = photos[index % len(photos)]
        folder = target / f"{index // len(photos):04d}"
        folder.mkdir(exist_ok=True)
        copy = folder / f"{index % len(photos):05d}{source.suffix}"
        if index < len(photos):
            shutil.copy(source, copy)
        else:
            os.link(target / "0000" / f"{index % len(photos):05d}{source.suffix}", copy)


def bare_costs(store: Store, encoder_text: str) -> tuple[float, float]:
    """Return CPU seconds of decoding and of encoding every planned sample, nothing else."""
    torch.set_num_threads(1)
    (generation,) = store.generations()
    record = store.snapshot().columns["latents"].record
    corpus = Folder.open(generation.corpus_url)
    settings = DecodeSettings(
        transform=MediaTransform(image=ImageTransform()), limits=ImageLimits(), time_limit_s=60.0
    )
    decode_cpu_s = encode_cpu_s = 0.0
    encoder = load_encoder(encoder_text, EncoderOptions(device="cpu"))
    for run in generation.runs:
        size = record.batch_size(run.bucket)
        for unit in run.units(generation=0, rows_per_unit=record.rows_per_unit):
            rows = decode_rows_of(store.read_rows(unit))
            for start in range(0, len(rows), 32):
                order = DecodeOrder(
                    corpus=corpus,
                    bucket=run.bucket,
                    rows=tuple(rows[start : start + 32]),
                    settings=settings,
                )
                before = time.process_time()
                decode_rows(order)
                decode_cpu_s += time.process_time() - before
        per_batch = _encode_cpu_s(encoder, run.bucket, size)
        encode_cpu_s += per_batch * run.num_rows / size
    return decode_cpu_s, encode_cpu_s


def _encode_cpu_s(encoder: object, bucket: Bucket, size: int) -> float:
    """Return the median CPU seconds of one batch in memory, scaling to floats included."""
    random = np.random.default_rng(0)
    shape = (size, 1, bucket.height_px, bucket.width_px, 3)
    pixels = random.integers(0, 256, shape, dtype=np.uint8)
    metas = [SampleMeta(key=str(index)) for index in range(size)]
    costs = []
    with torch.inference_mode():
        for _ in range(ENCODE_ROUNDS + 1):
            before = time.process_time()
            encoder.encode(scaled_pixels(pixels, encoder), metas)  # type: ignore[attr-defined]
            costs.append(time.process_time() - before)
    return statistics.median(costs[1:])


def measure(case: Case, photos: list[Path], *, resolution_px: int) -> Measured:
    """Return one run of ``case``."""
    with tempfile.TemporaryDirectory(prefix="pipeline-") as scratch:
        corpus, store = Path(scratch) / "corpus", Path(scratch) / "store"
        corpus.mkdir()
        repeated_corpus(photos, corpus, case.num_samples)
        resources = Resources(num_actors=CORES, threads=1)
        plan = PlanOptions(resolution_px=resolution_px, rows_per_shard=case.rows_per_shard)
        with Watcher() as watcher:
            _, result = build(
                str(store),
                PlanRequest(corpus_url=str(corpus), options=plan, resources=resources),
                EncodeRequest(
                    column="latents",
                    encode=EncodeOptions(encoder=case.encoder),
                    resources=resources,
                ),
                reporter=SilentReporter(),
            )
            # Publishing and the end of Ray come after the last unit.
            end_s = max(each[0] for each in watcher.samples)
            foreign_s, ours_s = watcher.between(end_s - result.elapsed_s - 1.0, end_s)
        decode_cpu_s, encode_cpu_s = bare_costs(Store.open(str(store)), case.encoder)
        return Measured(
            num_samples=result.encoded,
            decode_cpu_s=decode_cpu_s,
            encode_cpu_s=encode_cpu_s,
            wall_s=result.elapsed_s,
            foreign_share=foreign_s / (result.elapsed_s * CORES),
            tree_cpu_s=ours_s,
            peak_pss_bytes=watcher.peak_pss_bytes,
        )


def main() -> None:
    """Print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", nargs="+", type=Path, required=True)
    parser.add_argument("--tiny", help="folder of AutoencoderTiny weights")
    parser.add_argument("--case", nargs="*", default=["dct", "balanced", "tiny"])
    parser.add_argument("--samples", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--resolution", type=int, default=256)
    options = parser.parse_args()
    photos = sorted(
        path
        for folder in options.photos
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES
    )
    busy = "latentcache.testing.fakes:BusyEncoder:seconds=0.005"
    cases = {
        "dct": Case(name="dct", encoder="dct", num_samples=options.samples),
        "balanced": Case(name="balanced", encoder=busy, num_samples=options.samples),
        "tiny": Case(
            name="tiny",
            encoder=f"tiny:{options.tiny}",
            num_samples=2 * len(photos),
            rows_per_shard=32,
        ),
        "memory-1x": Case(name="memory-1x", encoder="dct", num_samples=1_000),
        "memory-10x": Case(name="memory-10x", encoder="dct", num_samples=10_000),
    }
    print(
        "| case | samples | decode CPU s | encode CPU s | wall s | CPU of the run, s "
        "| efficiency | other processes | peak PSS MiB |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options.case:
        done = 0
        while done < options.runs:
            each = measure(cases[name], photos, resolution_px=options.resolution)
            is_kept = each.foreign_share <= FOREIGN_LIMIT
            done += is_kept
            print(
                f"| {name}{'' if is_kept else ' (thrown away)'} | {each.num_samples} "
                f"| {each.decode_cpu_s:.1f} | {each.encode_cpu_s:.1f} | {each.wall_s:.1f} "
                f"| {each.tree_cpu_s:.1f} | {each.efficiency:.3f} | {each.foreign_share:.1%} "
                f"| {each.peak_pss_bytes / 2**20:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
