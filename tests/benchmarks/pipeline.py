"""How much of the machine a build turns into decoding and encoding; not a test.

    python -m tests.benchmarks.pipeline --photos FOLDER [FOLDER ...] [--case dct ...]
    python -m tests.benchmarks.pipeline --videos FOLDER [--case wan dct-video]

Efficiency = (CPU seconds of the bare decode + CPU seconds of the bare encoder, on the same
samples, in the same run, one thread, at the run's batch size) / (wall seconds x cores).
Wall is from the first unit given out to the last one committed, statistics, writing,
hashing and commits included, Ray's start not. A run is thrown away and measured again if
other processes took more than 5 % of the machine (from /proc).
"""

import argparse
import atexit
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
from latentcache.decode import ImageLimits
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
from latentcache.runner.decode.batch_collector import decode_rows_of
from latentcache.runner.decode.decode_tasks import (
    DecodeOrder,
    DecodeSettings,
    decode_rows,
    rows_per_task,
)
from latentcache.runner.forward.encoded_rows import scaled_pixels
from latentcache.storage import Folder
from latentcache.store import Store

CORES = os.cpu_count() or 1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PHOTOS = {".jpg", ".jpeg", ".png"}
VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi"}
TINY_WAN = {
    "base_dim": 16,
    "dim_mult": [1, 2, 2, 2],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
}
FOREIGN_LIMIT = 0.05
ENCODE_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table."""

    name: str
    encoder: str
    num_samples: int
    rows_per_shard: int = 512
    frames: tuple[int, ...] = ()

    def plan(self, resolution_px: int) -> PlanOptions:
        if not self.frames:
            return PlanOptions(resolution_px=resolution_px, rows_per_shard=self.rows_per_shard)
        return PlanOptions(
            resolution_px=resolution_px,
            rows_per_shard=self.rows_per_shard,
            frames=self.frames,
            fps=16.0,
            clips="uniform:4",
        )


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


def repeated_corpus(media: list[Path], target: Path, num_samples: int) -> None:
    """Fill ``target`` with ``num_samples`` links to ``media``, each under many names."""
    for index in range(num_samples):
        source = media[index % len(media)]
        folder = target / f"{index // len(media):04d}"
        folder.mkdir(exist_ok=True)
        copy = folder / f"{index % len(media):05d}{source.suffix}"
        if index < len(media):
            shutil.copy(source, copy)
        else:
            os.link(target / "0000" / f"{index % len(media):05d}{source.suffix}", copy)


def bare_costs(store: Store, encoder_text: str) -> tuple[float, float]:
    """Return CPU seconds of decoding and of encoding every planned sample, nothing else."""
    torch.set_num_threads(1)
    (generation,) = store.generations()
    record = store.snapshot().columns["latents"].record
    corpus = Folder.open(generation.corpus_url)
    decode_cpu_s = encode_cpu_s = 0.0
    encoder = load_encoder(encoder_text, EncoderOptions(device="cpu"))
    transform = EncodeOptions().transform(takes_clips=encoder.spec.modality == "video")
    settings = DecodeSettings(transform=transform, limits=ImageLimits(), time_limit_s=60.0)
    for run in generation.runs:
        size = record.batch_size(run.bucket)
        for unit in run.units(generation=0, rows_per_unit=record.rows_per_unit):
            rows = decode_rows_of(store.read_rows(unit))
            each = rows_per_task(run.bucket)
            for start in range(0, len(rows), each):
                order = DecodeOrder(
                    corpus=corpus,
                    bucket=run.bucket,
                    rows=tuple(rows[start : start + each]),
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
    shape = (size, bucket.num_frames, bucket.height_px, bucket.width_px, 3)
    pixels = random.integers(0, 256, shape, dtype=np.uint8)
    metas = [SampleMeta(key=str(index)) for index in range(size)]
    costs = []
    with torch.inference_mode():
        for _ in range(ENCODE_ROUNDS + 1):
            before = time.process_time()
            encoder.encode(scaled_pixels(pixels, encoder), metas)  # type: ignore[attr-defined]
            costs.append(time.process_time() - before)
    return statistics.median(costs[1:])


def measure(case: Case, media: list[Path], *, resolution_px: int, is_local: bool) -> Measured:
    """Return one run of ``case``."""
    with tempfile.TemporaryDirectory(prefix="pipeline-") as scratch:
        corpus, store = Path(scratch) / "corpus", Path(scratch) / "store"
        corpus.mkdir()
        repeated_corpus(media, corpus, case.num_samples)
        # Some real videos are cut short or have no picture at all.
        resources = Resources(
            num_actors=CORES,
            threads=1,
            max_quarantine=1.0,
            without_ray=10**9 if is_local else Resources().without_ray,
        )
        plan = case.plan(resolution_px)
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


def files_in(folders: list[Path], suffixes: set[str]) -> list[Path]:
    """Return the files of some folders, by name."""
    found = [path for folder in folders for path in folder.iterdir()]
    return sorted(path for path in found if path.suffix.lower() in suffixes)


def saved_wan() -> str:
    """Return the folder of a small random Wan, of the real class and with its factors."""
    from diffusers import AutoencoderKLWan  # noqa: PLC0415  takes seconds

    folder = tempfile.mkdtemp(prefix="pipeline-wan-")
    torch.manual_seed(0)
    AutoencoderKLWan(**TINY_WAN).save_pretrained(folder)
    atexit.register(shutil.rmtree, folder)
    return folder


def main() -> None:
    """Print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", nargs="+", type=Path, default=[])
    parser.add_argument("--videos", nargs="+", type=Path, default=[])
    parser.add_argument("--tiny", help="folder of AutoencoderTiny weights")
    parser.add_argument("--case", nargs="*")
    parser.add_argument("--samples", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=4, help="times each video is taken")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--without-ray", action="store_true", help="processes of this machine")
    options = parser.parse_args()
    photos, videos = files_in(options.photos, PHOTOS), files_in(options.videos, VIDEOS)
    given = [*(["dct", "balanced", "tiny"] if photos else []), *(["wan"] if videos else [])]
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
        "wan": Case(
            name="wan",
            encoder="wan:" + saved_wan() if videos else "",
            num_samples=options.repeats * len(videos),
            rows_per_shard=32,
            frames=(17,),
        ),
        "dct-video": Case(
            name="dct-video",
            encoder="dct-video",
            num_samples=options.repeats * len(videos),
            rows_per_shard=128,
            frames=(17,),
        ),
    }
    print(
        "| case | samples | decode CPU s | encode CPU s | wall s | CPU of the run, s "
        "| efficiency | other processes | peak PSS MiB |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options.case or given:
        media = videos if cases[name].frames else photos
        done = 0
        while done < options.runs:
            each = measure(
                cases[name],
                media,
                resolution_px=options.resolution,
                is_local=options.without_ray,
            )
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
