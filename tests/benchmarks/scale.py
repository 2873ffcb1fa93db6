"""What a store costs by its number of samples, without media and with a null encoder; not a test.

    python -m tests.benchmarks.scale FOLDER 100000 1000000 [--plan-only]

Each step runs in a fresh process. ``plan`` places made-up sizes and writes the plan; ``commit``
encodes all rows into one number each; ``publish``, ``list`` (every object), ``status`` and ``open``
(a loader and its first batch) follow on that store. Objects are those that are there after the
step, requests the operations on storage, a listing counted for each 1,000 objects as object stores
do. Growth is the exponent of seconds between two sizes: 1 is proportional.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

STEPS = ("plan", "commit", "publish", "list", "status", "open")
_SIZES = ((512, 512), (640, 480), (480, 640), (1024, 576), (800, 800))
_CHUNK = 4096
_LISTED_AT_ONCE = 1000


def _media(num_samples: int) -> Iterator[list[Any]]:
    from latentcache.core.media import SourceRef  # noqa: PLC0415  the parent needs none of it
    from latentcache.plan.listing import ListedMedia  # noqa: PLC0415
    from latentcache.plan.placement.scanned import ScannedMedia  # noqa: PLC0415

    for start in range(0, num_samples, _CHUNK):
        yield [
            ScannedMedia(
                listed=ListedMedia(
                    source=SourceRef(
                        path=f"{number // 1000:06d}/{number:09d}.jpg", size_bytes=1000
                    ),
                    version="1",
                    position=number,
                ),
                width_px=_SIZES[number % len(_SIZES)][0],
                height_px=_SIZES[number % len(_SIZES)][1],
            )
            for number in range(start, min(start + _CHUNK, num_samples))
        ]


def plan(store: Any, num_samples: int) -> None:
    """Place all samples and write the plan."""
    from latentcache.plan import PlanOptions, assign  # noqa: PLC0415
    from latentcache.store.rows.plan_draft import GenerationDraft  # noqa: PLC0415

    options = PlanOptions(resolution_px=512, rows_per_shard=8192)
    with tempfile.TemporaryDirectory(prefix="scale-", dir=Path(store.folder.url).parent) as scratch:
        assignment = assign(_media(num_samples), options, Path(scratch))
        store.write_generation(
            GenerationDraft(
                corpus_url="drawn",
                corpus_kind="folder",
                options=options.as_dict(),
                seed=0,
                runs=assignment.runs,
                rows=assignment.iter_rows(),
                totals={"listed": num_samples, "rows": assignment.num_rows, "bytes": 0},
            )
        )


def commit(store: Any, _: int) -> None:
    """Encode every row into one number."""
    import numpy as np  # noqa: PLC0415

    from latentcache.stats import UnitStatistics  # noqa: PLC0415
    from latentcache.store import Provenance, UnitWriter  # noqa: PLC0415
    from latentcache.testing.synthetic import SyntheticColumn  # noqa: PLC0415

    column = SyntheticColumn(channels=1, dtype="float16", spatial_factor=512)
    record = store.write_encoding(column.record())
    (generation,) = store.generations()
    (field,) = record.fields
    zero = np.zeros((1, 1, 1), np.float16)
    for unit in store.units(record):
        keys = store.read_rows(unit, ["key"])["key"].to_pylist()
        provenance = Provenance(generation_digest=generation.digest, software={})
        statistics = UnitStatistics(record.fields, "point")
        statistics.add({field.name: np.zeros((unit.num_rows, 1, 1, 1), np.float32)})
        with UnitWriter(store.folder, record, unit, provenance=provenance) as writer:
            for row, key in enumerate(keys, unit.first_row):
                writer.add(row, key, {field.name: zero}, bytes(16))
            writer.finish(statistics.arrays())


def publish(store: Any, _: int) -> None:
    """Choose all units and publish the first snapshot."""
    from latentcache.stats import merge_arrays  # noqa: PLC0415
    from latentcache.store import ColumnChange  # noqa: PLC0415

    (record,) = store.encodings("latents")
    store.publish([ColumnChange(record=record, merge_statistics=merge_arrays)])


def listing(store: Any, _: int) -> None:
    """List every object."""
    for _info in store.folder.list():
        pass


def status(store: Any, _: int) -> None:
    """Look how far the store is."""
    from latentcache.store import num_planned, read_progress  # noqa: PLC0415

    (found,) = read_progress(store, store.snapshot(), None)
    assert found.encoded == num_planned(store), found


def opened(store: Any, _: int) -> None:
    """Open a loader and draw a batch."""
    from latentcache import LatentLoader  # noqa: PLC0415

    next(iter(LatentLoader(store.folder.url, global_batch_size=256)))


_STEP_OF: dict[str, Callable[[Any, int], None]] = {
    **{each.__name__: each for each in (plan, commit, publish, status)},
    "list": listing,
    "open": opened,
}


def _count_requests() -> dict[str, int]:
    from latentcache.storage.local import LocalBackend  # noqa: PLC0415

    counts = {"requests": 0}

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *arguments: Any, **named: Any) -> Any:
            counts["requests"] += 1
            return real(self, *arguments, **named)

        return call

    def listed(self: Any, prefix: str, *, with_temporary: bool) -> Iterator[Any]:
        for number, each in enumerate(find(self, prefix, with_temporary=with_temporary)):
            counts["requests"] += number % _LISTED_AT_ONCE == 0
            yield each

    find = LocalBackend.iter_objects
    for name in ("read", "open_read", "write", "upload", "put_if_absent", "stat", "iter_folders"):
        setattr(LocalBackend, name, counted(getattr(LocalBackend, name)))
    LocalBackend.iter_objects = listed  # type: ignore[method-assign, assignment]
    return counts


def measure(path: str, num_samples: int, step: str) -> dict[str, float]:
    """Return the figures of one step, in a process of its own."""
    import torch  # noqa: PLC0415  imports come before the clock

    import latentcache.loader  # noqa: PLC0415
    from latentcache.store import Store  # noqa: PLC0415

    torch.set_num_threads(1)
    assert latentcache.loader
    counts, before = _count_requests(), _peak_bytes()
    began_s = perf_counter()
    _STEP_OF[step](Store.open_or_create(path), num_samples)
    seconds = perf_counter() - began_s
    return {"seconds": seconds, "peak_mb": (_peak_bytes() - before) / 1e6, **counts}


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    return (kib["VmHWM"] - kib["RssFile"]) * 1024  # mapped files are the page cache's


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("samples", type=int, nargs="+")
    parser.add_argument("--plan-only", action="store_true")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        print(json.dumps(measure(str(asked.folder), asked.samples[0], asked.step)))
        return
    print("| step | samples | s | growth | peak MB | objects | requests |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    before: dict[str, tuple[int, float]] = {}
    for num_samples in asked.samples:
        store = asked.folder / f"store-{num_samples}"
        for step in STEPS[: 1 if asked.plan_only else None]:
            command = [sys.executable, "-m", "tests.benchmarks.scale", str(store), str(num_samples)]
            done = subprocess.run([*command, "--step", step], check=True, capture_output=True)
            found = json.loads(done.stdout.splitlines()[-1])
            growth = _growth(before.get(step), (num_samples, found["seconds"]))
            before[step] = (num_samples, found["seconds"])
            num_objects = sum(path.is_file() for path in store.rglob("*"))
            print(
                f"| {step} | {num_samples:,} | {found['seconds']:.2f} | {growth} | "
                f"{found['peak_mb']:.0f} | {num_objects:,} | {found['requests']:,} |",
                flush=True,
            )


def _growth(before: tuple[int, float] | None, now: tuple[int, float]) -> str:
    if before is None:
        return ""
    return f"{math.log(now[1] / before[1]) / math.log(now[0] / before[0]):.2f}"


if __name__ == "__main__":
    main()
