"""What an update costs: of an unchanged corpus against its listing, of 1 % more against a build.

    python -m tests.benchmarks.growth FOLDER [NUM_PICTURES]

FOLDER takes the drawn pictures (hard links of a few) and the stores. Prints medians of five.
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


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes."""
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


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
    whole_s = timed(lambda: build(str(store), request(update=False), encode, reporter=reporter))

    def listing() -> None:
        for _ in Listing(open_corpus(str(corpus)), OPTIONS).chunks():
            pass

    listed_s, unchanged_s = [], []
    for _ in range(REPEATS):
        listed_s.append(timed(listing))
        unchanged_s.append(
            timed(lambda: plan_corpus(str(store), request(update=True), reporter=reporter))
        )
    more = max(1, count // 100)
    draw(corpus, count, more)
    grown_s = timed(lambda: build(str(store), request(update=True), encode, reporter=reporter))
    listed, unchanged = statistics.median(listed_s), statistics.median(unchanged_s)
    print(f"{count:,} pictures: build {whole_s:.1f} s, listing {listed:.2f} s")
    print(f"update, nothing changed: {unchanged:.2f} s, {unchanged / listed:.2f} of the listing")
    print(f"update, {more:,} more: {grown_s:.1f} s, {grown_s / whole_s:.1%} of the build")
    shutil.rmtree(folder / "kinds")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20_000)
