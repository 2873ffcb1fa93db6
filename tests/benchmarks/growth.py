"""What an update costs: of an unchanged corpus against its listing, of 1 % more against a build.

    python -m tests.benchmarks.growth FOLDER [NUM_PICTURES]

FOLDER takes the drawn pictures (hard links of a few) and the stores. Prints medians of five, by the
clock and in seconds of the processor (worker processes with them), which do not depend on what
else runs, and the load of the machine.
"""

import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from latentcache.plan import Listing, PlanOptions, open_corpus
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
    plan_corpus,
)

REPEATS = 5
OPTIONS = PlanOptions(resolution_px=32)


def draw(corpus: Path, first: int, count: int) -> None:
    """Write ``count`` small pictures in folders of a thousand."""
    kinds = corpus.parent / "kinds"
    kinds.mkdir(parents=True, exist_ok=True)
    for kind in range(16):
        if not (kinds / f"{kind}.png").exists():
            pixels = np.random.default_rng(kind).integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(kinds / f"{kind}.png")
    for number in range(first, first + count):
        folder = corpus / f"{number // 1000:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(kinds / f"{number % 16}.png", folder / f"{number}.png")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that ``work`` takes, by the clock and of the processor."""
    started_s, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return time.perf_counter() - started_s, sum(after[:4]) - sum(before[:4])


def median(turns: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the median of either kind of seconds."""
    clock, processor = zip(*turns, strict=True)
    return statistics.median(clock), statistics.median(processor)


def text(name: str, took: tuple[float, float], against: tuple[float, float] | None = None) -> str:
    """Return a line about one work, and what share of another that is."""
    line = f"{name}: {took[0]:.2f} s, {took[1]:.2f} s of the processor"
    if against is None:
        return line
    clock, processor = (one / other for one, other in zip(took, against, strict=True))
    return f"{line} ({clock:.3f} and {processor:.3f} of it)"


def main(folder: Path, count: int) -> None:
    """Measure and print."""
    corpus, store = folder / "corpus", folder / "store"
    draw(corpus, 0, count)

    def request(*, update: bool) -> PlanRequest:
        return PlanRequest(
            corpus_url=str(corpus), options=OPTIONS, resources=Resources(), update=update
        )

    encode = EncodeRequest(column="latents", encode=EncodeOptions(), resources=Resources())
    reporter = SilentReporter()
    whole = timed(lambda: build(str(store), request(update=False), encode, reporter=reporter))

    def listing() -> None:
        for _ in Listing(open_corpus(str(corpus)), OPTIONS).chunks():
            pass

    listed, unchanged = [], []
    for _ in range(REPEATS):
        listed.append(timed(listing))
        unchanged.append(
            timed(lambda: plan_corpus(str(store), request(update=True), reporter=reporter))
        )
    more = max(1, count // 100)
    draw(corpus, count, more)
    grown = timed(lambda: build(str(store), request(update=True), encode, reporter=reporter))
    print(f"{count:,} pictures, load {os.getloadavg()[1]:.1f}")
    print(text("build", whole))
    print(text("listing", median(listed)))
    print(text("update, nothing changed, against the listing", median(unchanged), median(listed)))
    print(text(f"update, {more:,} more, against the build", grown, whole))
    shutil.rmtree(folder / "kinds")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20_000)
