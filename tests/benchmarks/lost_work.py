"""Work that a kill and a Ctrl-C cost, by speed of the encoder and number of buckets.

``python -m tests.benchmarks.lost_work [--kills 20]``. Builds run with two actors of a fake
encoder that sleeps; each is stopped at a drawn moment, and what the next run takes up is
counted in the store. Lost is what came out of the encoders, by their own count, and is not safe,
at their declared speed; the batch in flight is on top, at most its length. ``--busy`` runs whole
builds instead, and prints the share of the time in which the encoders worked.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentcache.testing.drawn import write_drawn_corpus
from latentcache.testing.fakes import SlowEncoder
from tests.runner.runs import start_build, wait_for_line

if TYPE_CHECKING:
    import torch

    from latentcache.encoders import SampleMeta

NUM_ACTORS = 2
_LOG, _KEY_DIGITS = "LOST_WORK_LOG", 20
_SHAPES: dict[int, tuple[str, ...]] = {
    1: ("--square",),
    5: (),
    40: ("--set", "plan.step_px=8", "--set", "plan.min_bucket=1"),
}
"""Options that cut the drawn corpus into about so many buckets."""


class CountedEncoder(SlowEncoder):
    """Writes down each row that it has encoded."""

    def encode(
        self, pixels: "torch.Tensor", metas: "Sequence[SampleMeta]"
    ) -> list[dict[str, "torch.Tensor"]]:
        """Return the fields of each row, late, and count the rows that are samples."""
        fields = super().encode(pixels, metas)
        if _LOG in os.environ:
            keys = [meta.key for meta in metas if len(meta.key) == _KEY_DIGITS]
            with Path(os.environ[_LOG]).open("a", encoding="ascii") as log:
                log.write("".join(f"{key}\n" for key in keys))
        return fields


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line per speed, shape and way to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--keep-every", type=float, default=30.0)
    parser.add_argument("--speeds", type=float, nargs="+", default=[0.1, 1.0, 50.0])
    parser.add_argument("--buckets", type=int, nargs="+", default=list(_SHAPES))
    parser.add_argument("--within", type=float, help="seconds; by default six batches, 4 to 90")
    parser.add_argument("--busy", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.busy:
        _print_busy(asked.speeds, asked.buckets)
        return
    print("| samples/s per actor | buckets | stop | worst loss, s per actor | mean |")
    print("| ---: | ---: | --- | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        write_drawn_corpus(corpus, 400, seed=1, size_px=64)
        for speed in asked.speeds:
            for buckets in asked.buckets:
                for stop in (signal.SIGKILL, signal.SIGINT):
                    lost_s = [
                        lost_by_one_stop(corpus, (speed, buckets), stop, asked)
                        for _ in range(asked.kills)
                    ]
                    figures = (max(lost_s), sum(lost_s) / len(lost_s))
                    shown = " | ".join(f"{each:.1f}" for each in figures)
                    print(f"| {speed:g} | {buckets} | {stop.name} | {shown} |", flush=True)


def _print_busy(speeds: Sequence[float], shapes: Sequence[int]) -> None:
    print("| samples/s per actor | buckets | samples | encoders busy | whole run, s |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        write_drawn_corpus(corpus, 400, seed=1, size_px=64)
        for speed in speeds:
            for buckets in shapes:
                num_samples = min(400, max(10, round(100 * speed)))
                store = Path(folder) / f"store-{speed}-{buckets}"
                began_s = time.monotonic()
                run = _start(corpus, store, speed, buckets, "--limit", str(num_samples))
                _, told = run.communicate()
                took_s = time.monotonic() - began_s
                busy = re.findall(r"encoder busy (\d+)%", told)[-1]
                print(
                    f"| {speed:g} | {buckets} | {num_samples} | {busy} % | {took_s:.0f} |",
                    flush=True,
                )


def _batch_of(speed: float) -> int:
    return 1 if speed <= 1 else 4


def _start(
    corpus: Path, store: Path, speed: float, buckets: int, *options: str
) -> "subprocess.Popen[str]":
    batch = _batch_of(speed)
    return start_build(
        corpus,
        store,
        f"tests.benchmarks.lost_work:CountedEncoder:seconds={batch / speed}",
        *("--batch-size", str(batch), "--actors", str(NUM_ACTORS), "--rows-per-shard", "0"),
        *_SHAPES[buckets],
        *options,
    )


def lost_by_one_stop(
    corpus: Path, shape: tuple[float, int], stop: signal.Signals, asked: argparse.Namespace
) -> float:
    """Return the encoder seconds per actor that one stop at a drawn moment cost."""
    speed, buckets = shape
    batch = _batch_of(speed)
    within_s = asked.within or max(4.0, min(90.0, 6 * batch / speed))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        store = Path(folder) / "store"
        kept = ("--set", f"resources.keep_every_s={asked.keep_every}")
        os.environ[_LOG] = str(Path(folder) / "log")
        run = _start(corpus, store, speed, buckets, *kept)
        wait_for_line(run, "encode:")
        time.sleep(random.uniform(0.0, within_s))
        run.send_signal(stop)
        run.communicate()
        log = Path(os.environ.pop(_LOG))
        encoded = set(log.read_text().split()) if log.exists() else set()
        return max(0, len(encoded) - num_safe(store)) / (speed * NUM_ACTORS)


def num_safe(store: Path) -> int:
    """Return how many samples of a store are committed or kept."""
    committed = [json.loads(path.read_bytes()) for path in store.glob("encodings/*/*/commits/*")]
    units = {each["unit"]: each["num_rows"] for each in committed}
    batches = set()
    for path in store.glob("open/*/.tmp.*-*.r*"):
        head = json.loads(path.read_bytes().partition(b"\n")[0])
        unit = json.loads(head["identity"])["unit"]
        if unit not in units:
            batches |= {(unit, each["index"], len(each["positions"])) for each in head["batches"]}
    return sum(units.values()) + sum(count for _, _, count in batches)


if __name__ == "__main__":
    main()
