"""Roles: what two of them cost a plan, and what media of roles cost a loader.

    .venv/bin/python -m tests.benchmarks.roles [--pictures 2000] [--rows 8192] [--batches 200]

Plans a folder of drawn pictures without roles and with two, in turn, and reads batches of latents
alone and with a control column, masks or ragged references beside them, in turn, warm. The best of
five turns counts.
"""

import argparse
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from latentcache.core.fields import Field
from latentcache.core.media import Bucket
from latentcache.core.rejects import Reject
from latentcache.loader import LatentLoader
from latentcache.plan import PlanOptions
from latentcache.runner import PlanRequest, Resources, SilentReporter, plan_corpus
from latentcache.store import Store
from latentcache.testing.drawn import write_drawn_corpus
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.written_columns import Fields, write_column

TURNS = 5
ROWS_PER_SHARD = 1024
ABSENT = Reject(code="absent", stage="decode", reason="the sample has no medium of this role")


def planned(home: Path, roles: tuple[str, ...]) -> tuple[float, int]:
    """Return the seconds that a plan took, and the bytes of the store."""
    store = home / "store"
    shutil.rmtree(store, ignore_errors=True)
    request = PlanRequest(
        corpus_url=str(home / "corpus"),
        options=PlanOptions(resolution_px=64, roles=roles),
        resources=Resources(),
    )
    started = time.perf_counter()
    plan_corpus(str(store), request, reporter=SilentReporter())
    elapsed = time.perf_counter() - started
    return elapsed, sum(path.stat().st_size for path in store.rglob("*") if path.is_file())


def measure_plans(num_pictures: int) -> None:
    """Print seconds and bytes of both plans."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        pictures = write_drawn_corpus(home / "corpus", num_pictures, size_px=64)
        for role in ("control", "mask"):
            (home / role).mkdir()
            for path in pictures:
                shutil.copy(path, home / role / path.name)
        both = tuple(f"{role}={home / role}" for role in ("control", "mask"))
        found: dict[tuple[str, ...], list[tuple[float, int]]] = {(): [], both: []}
        for _, roles in itertools.product(range(TURNS), found):
            found[roles].append(planned(home, roles))
        (bare_s, bare), (with_s, with_bytes) = (min(found[roles]) for roles in ((), both))
        print(f"plan of {num_pictures:,}: {bare_s:.2f} s, {bare / num_pictures:.0f} bytes a row")
        print(
            f"with two roles: {with_s:.2f} s ({with_s / bare_s:.2f}), "
            f"{(with_bytes - bare) / num_pictures:.0f} bytes a row more"
        )


def add_role(
    store: Store, name: str, field: Field, sample_of: Callable[[int], np.ndarray | None]
) -> None:
    """Write a column of a role; None is a row without."""
    geometry = "own" if name == "ref" else "as_target"

    def outcome_of(_: int, row: int) -> Fields | Reject:
        sample = sample_of(row)
        return ABSENT if sample is None else {"z": sample}

    transform = {"kind": "image", "role": {"version": 1, "geometry": geometry}}
    write_column(
        store, name, (field,), outcome_of, rows_per_unit=ROWS_PER_SHARD, transform=transform
    )


def measure_loading(num_rows: int, num_batches: int) -> None:
    """Print how a loader of everything compares with one of latents."""
    with tempfile.TemporaryDirectory() as scratch:
        store = Store.create(Path(scratch) / "store")
        add_generation(store, [(Bucket(1, 256, 256), num_rows, ROWS_PER_SHARD)])
        add_column(store, SyntheticColumn(channels=16, rows_per_unit=ROWS_PER_SHARD))
        add_column(store, SyntheticColumn(name="second", channels=16, rows_per_unit=ROWS_PER_SHARD))
        latent = Field(name="z", kind="point", axes="CHW", channels=16, dtype="float16")
        mask = replace(latent, channels=1, dtype="uint8")
        control = np.ones((16, 32, 32), np.float16)
        add_role(store, "control", latent, lambda row: control if row % 10 else None)
        add_role(store, "mask", mask, lambda _: np.ones((1, 32, 32), np.uint8))
        add_role(store, "ref", latent, lambda row: control[:, : 16 + row % 16])
        kinds = {
            "latents": ["latents"],
            "with a column of the sample": ["latents", "second"],
            "with control": ["latents", "control"],
            "with mask": ["latents", "mask"],
            "with references": ["latents", "ref"],
        }
        loaders = {
            kind: LatentLoader(store, columns=columns, global_batch_size=64)
            for kind, columns in kinds.items()
        }
        best = dict.fromkeys(kinds, float("inf"))
        for kind in [*kinds] * TURNS:
            batches = itertools.islice(iter(loaders[kind]), num_batches)
            started = time.perf_counter()
            for batch in batches:
                for name in kinds[kind]:
                    _ = batch[name]
            best[kind] = min(best[kind], time.perf_counter() - started)
        for kind, elapsed in best.items():
            rate = 64 * num_batches / elapsed
            print(f"{kind}: {rate:,.0f} samples/s ({best['latents'] / elapsed:.2f})")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--batches", type=int, default=200)
    asked = parser.parse_args()
    measure_plans(asked.pictures)
    measure_loading(asked.rows, asked.batches)


if __name__ == "__main__":
    main()
