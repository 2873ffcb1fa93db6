"""How fast a plan reads the headers of a corpus, beside an older build of this project.

    python -m tests.benchmarks.scan --old CHECKOUT --photos FOLDER --videos FOLDER
        [--num-photos 20000] [--num-videos 1000] [--rounds 3]

The files of the folders are taken again and again, as hard links under other names. Each `plan` is
a fresh process, old and new in turn, Ray's start included where it is started. Medians, with the
smallest and the largest beside them. Not a test.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.commands import Run, median, run_command, spread

_PHOTOS = {".jpg", ".jpeg"}
_VIDEOS = {".mp4", ".mkv", ".webm"}
_LARGEST_BYTES = 2**20
"""Of a video that is taken: small ones, whose headers are most of the work."""


def linked(source: Path, folder: Path, suffixes: set[str], num: int) -> Path:
    """Return a folder with ``num`` links to copies of the files of ``source``."""
    sizes = {path: path.stat().st_size for path in source.rglob("*") if path.is_file()}
    chosen = [
        path
        for path in sorted(sizes)
        if path.suffix.lower() in suffixes and sizes[path] < _LARGEST_BYTES
    ]
    originals = folder.with_name(folder.name + "-of")
    originals.mkdir()
    for path in chosen:
        shutil.copy(path, originals / path.name)
    for number in range(num):
        path = chosen[number % len(chosen)]
        target = folder / f"{number // 1000:04d}" / f"{number:07d}{path.suffix.lower()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals / path.name, target)
    return folder


def row(title: str, command: Sequence[str], num: int, old: Path, rounds: int) -> str:
    """Return a table row of one plan."""
    runs: dict[str, list[Run]] = {"old": [], "now": []}
    for number in range(rounds):
        for side, tree in (("old", old), ("now", Path.cwd())):
            store = f"{command[1]}-store-{side}-{number}"
            arguments = [sys.executable, "-m", "latentcache", *command[:2], store, *command[2:]]
            runs[side].append(run_command(arguments, tree))
            shutil.rmtree(store)
    cells = [title, f"{num:,}"]
    for figure in ("wall_s", "cpu_s"):
        before, after = (median(runs[side], figure) for side in ("old", "now"))
        cells += [spread(runs["old"], figure), spread(runs["now"], figure)]
        cells.append(f"**{before / after:.2f}**")
    cells.append("/".join(str(runs[side][-1].code) for side in ("old", "now")))
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Plan and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--num-photos", type=int, default=20_000)
    parser.add_argument("--num-videos", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(
        "| plan of | files | wall s, old | now | old / now | CPU s, old | now | old / now | exit |"
    )
    print("| --- " + "| ---: " * 8 + "|")
    with tempfile.TemporaryDirectory() as name:
        for title, source, suffixes, num, options in (
            ("photos", asked.photos, _PHOTOS, asked.num_photos, []),
            ("videos", asked.videos, _VIDEOS, asked.num_videos, ["--frames", "17"]),
        ):
            corpus = linked(source, Path(name) / title, suffixes, num)
            command = ["plan", str(corpus), "--resolution", "256", *options]
            print(row(title, command, num, asked.old, asked.rounds), flush=True)


if __name__ == "__main__":
    main()
