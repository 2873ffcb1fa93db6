"""Two placements of each sample in one store against two stores; eleven that an update adds.

    python -m tests.benchmarks.placements [PHOTOS] [PICTURES] [TURNS]

Photos of 1200 x 800 px are planned, and built with dct: at 256 and 512 px, and plain and mirrored,
in one store, against a store for each of the two. Then small pictures are planned with one
placement, with twelve at once, and with twelve of which an update adds eleven. Everything in turn;
medians by the clock, of the driver's processor, and of the clock while decode processes worked,
each with the least and the most. At last sixteen photos are decoded in this process, cut in one way
and in several, in milliseconds of the processor.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latentcache.core.media import Bucket, Geometry, SourceRef
from latentcache.decode import ImageLimits
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
    plan_corpus,
)
from latentcache.runner.decode.decode_tasks import (
    DecodeOrder,
    DecodeRow,
    DecodeSettings,
    decode_rows,
)
from latentcache.storage import Folder
from latentcache.testing.drawn import write_drawn_corpus

Options = dict[str, Any]
Took = tuple[float, float, float]

PAIRS: dict[str, tuple[Options, Sequence[Options]]] = {
    "256 and 512 px": (
        {"resolution_px": (256, 512)},
        ({"resolution_px": 256}, {"resolution_px": 512}),
    ),
    "plain and mirrored, 512 px": (
        {"resolution_px": 512, "flip": "horizontal"},
        ({"resolution_px": 512},) * 2,
    ),
}
"""Options of the one store, and of the two. Of plain and mirrored the second store is as the first,
which costs what a corpus of mirrored photos would."""

NUM_DECODED = 16
CUTS = {
    "one": ((32, False),),
    "plain and mirrored": ((32, False), (32, True)),
    "three crops": ((32, False), (0, False), (64, False)),
    "three crops, plain and mirrored": tuple(
        (left_px, flip) for left_px in (32, 0, 64) for flip in (False, True)
    ),
}
"""Left end of each cut in pixels, and whether it is mirrored."""

ONE: Options = {"resolution_px": 64}
TWELVE: Options = {"resolution_px": (64, 128), "crops": 3, "flip": "horizontal"}
SMALL: Options = {"square": True, "max_upscale": 8.0}


def draw_photos(folder: Path, count: int) -> None:
    """Write JPEGs with the detail of photos."""
    folder.mkdir()
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (100, 150, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((1200, 800), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.jpg", quality=90)


def took(corpus: Path, store: Path, options: Options, *, what: str, update: bool = False) -> Took:
    """Return seconds of a plan or a build: by the clock, of the driver's processor, of decoding."""
    resources, reporter = Resources(), SilentReporter()
    plan = PlanRequest(
        corpus_url=str(corpus), options=PlanOptions(**options), resources=resources, update=update
    )
    encode = EncodeRequest(
        column="latents", encode=EncodeOptions(encoder="dct"), resources=resources
    )
    busy, started, decoding_s = os.times(), time.perf_counter(), 0.0
    if what == "plan":
        plan_corpus(str(store), plan, reporter=reporter)
    else:
        _, encoded = build(str(store), plan, encode, reporter=reporter)
        decoding_s = encoded.times.decode_core_s
    after = os.times()
    return time.perf_counter() - started, sum(after[:4]) - sum(busy[:4]), decoding_s


def told(name: str, found: Sequence[tuple[float, ...]]) -> str:
    """Return a line of a table."""
    cells = []
    for values in zip(*found, strict=True):
        least, most = min(values), max(values)
        cells.append(f"{statistics.median(values):.2f} ({least:.2f} to {most:.2f})")
    return f"| {name} | {' | '.join(cells)} |"


def measure_pairs(home: Path, turns: int) -> dict[str, list[Took]]:
    """Return what one store of two placements takes, and two stores of one."""
    found: defaultdict[str, list[Took]] = defaultdict(list)
    for _ in range(turns):
        for name, (together, apart) in PAIRS.items():
            for what in ("plan", "build"):
                for label, stores in (("one store", (together,)), ("two stores", apart)):
                    parts = []
                    for options in stores:
                        shutil.rmtree(home / "store", ignore_errors=True)
                        parts.append(took(home / "photos", home / "store", options, what=what))
                    clock_s, busy_s, decoding_s = map(sum, zip(*parts, strict=True))
                    found[f"{what}, {name}, {label}"].append((clock_s, busy_s, decoding_s))
    return found


def measure_growth(home: Path, turns: int) -> dict[str, list[Took]]:
    """Return what planning one placement, twelve, and eleven more takes."""
    found: defaultdict[str, list[Took]] = defaultdict(list)
    corpus, store = home / "small", home / "store"
    for _ in range(turns):
        shutil.rmtree(store, ignore_errors=True)
        found["plan, one placement"].append(took(corpus, store, SMALL | ONE, what="plan"))
        grown = took(corpus, store, SMALL | TWELVE, what="plan", update=True)
        found["plan, an update that adds eleven"].append(grown)
        shutil.rmtree(store)
        found["plan, twelve at once"].append(took(corpus, store, SMALL | TWELVE, what="plan"))
    return found


def measure_decoding(photos: Path, turns: int = 9) -> dict[str, list[tuple[float]]]:
    """Return milliseconds of the processor that a decode task takes for a photo."""
    import torch  # noqa: PLC0415  as a decode process does

    torch.set_num_threads(1)
    found: defaultdict[str, list[tuple[float]]] = defaultdict(list)
    for _ in range(turns):
        for name, cuts in CUTS.items():
            order = decode_order(photos, cuts)
            started = time.process_time()
            decode_rows(order)
            found[name].append((1000 * (time.process_time() - started) / NUM_DECODED,))
    return found


def decode_order(photos: Path, cuts: Sequence[tuple[int, bool]]) -> DecodeOrder:
    """Return a task of some photos, each cut as asked: left end in pixels, mirrored or not."""
    plain = Geometry(
        source_width_px=1200,
        source_height_px=800,
        resized_width_px=640,
        resized_height_px=427,
        crop_left_px=0,
        crop_top_px=10,
    )
    rows = [
        (f"{number}.jpg", replace(plain, crop_left_px=left_px, is_flipped=is_flipped))
        for number in range(NUM_DECODED)
        for left_px, is_flipped in cuts
    ]
    return DecodeOrder(
        corpus=Folder.open(photos),
        bucket=Bucket(1, 384, 576),
        rows=tuple(
            DecodeRow(row=row, key=f"{row:020d}", source=SourceRef(path=path), geometry=geometry)
            for row, (path, geometry) in enumerate(rows)
        ),
        settings=DecodeSettings(
            transform=EncodeOptions().transform(takes_clips=False),
            limits=ImageLimits(),
            time_limit_s=60.0,
        ),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=int, nargs="?", default=200)
    parser.add_argument("pictures", type=int, nargs="?", default=1000)
    parser.add_argument("turns", type=int, nargs="?", default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        draw_photos(home / "photos", asked.photos)
        write_drawn_corpus(home / "small", asked.pictures, size_px=96)
        found = measure_pairs(home, asked.turns) | measure_growth(home, asked.turns)
        of_photos = measure_decoding(home / "photos")
    print("| what | seconds | of the driver's processor | decode processes at work |")
    print("| --- | --- | --- | --- |")
    for name, each in found.items():
        print(told(name, each))
    print("| cuts of a photo | ms |\n| --- | --- |")
    for name, times in of_photos.items():
        print(told(name, times))
    print(f"load: {', '.join(f'{each:.1f}' for each in os.getloadavg())}")


if __name__ == "__main__":
    main()
