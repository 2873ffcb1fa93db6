"""What a newcomer's first commands cost, beside an older build of this project.

    python -m tests.benchmarks.first_hour PHOTOS --old CHECKOUT [--rounds 5]

PHOTOS is a folder of pictures, of which the first 24 by name are taken. Each command runs as
a fresh process of this interpreter, once with this tree and once with the checkout, in turn.
Wall time is from start to exit. CPU time is that of all processes that the command started,
whoever waited for them, by a control group of their own (which takes root). The first word is the
first byte on either stream. Medians, with the smallest and the largest beside them.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.commands import Run, median, run_command, spread

NUM_PHOTOS = 24
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_DIFFUSERS = """
import sys, torch
from diffusers import AutoencoderKL
print("imported", flush=True)
from pathlib import Path
from PIL import Image
import numpy as np
vae = AutoencoderKL(
    down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
    block_out_channels=[8, 16], norm_num_groups=4,
).eval()
for path in sorted(Path(sys.argv[1]).iterdir()):
    pixels = np.asarray(Image.open(path).convert("RGB").resize((256, 256)))
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(batch).latent_dist.mean
    torch.save(latents, Path(sys.argv[2]) / f"{path.stem}.pt")
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line per command, with the ratio of this tree to the older one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="names of the commands to run")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = _some_photos(asked.photos, folder / "photos")
        print(
            "| command | wall s, old | now | ratio | CPU s, old | now | ratio "
            "| first word s, old | now | exit |"
        )
        print("| --- " + "| ---: " * 9 + "|")
        for title, commands in _commands(photos, folder).items():
            if not asked.only or title in asked.only:
                print(_row(title, commands, asked.old, asked.rounds), flush=True)
        plain = [
            run_command(
                [sys.executable, "-c", _DIFFUSERS, str(photos), _empty(folder / "pt")], Path.cwd()
            )
            for _ in range(asked.rounds)
        ]
        print(
            f"\nA plain diffusers script over the same photos: {spread(plain, 'wall_s')} s wall, "
            f"{spread(plain, 'cpu_s')} s CPU, first word after {spread(plain, 'first_word_s')} s."
        )


def _some_photos(source: Path, folder: Path) -> Path:
    folder.mkdir()
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in _SUFFIXES)
    for path in found[:NUM_PHOTOS]:
        shutil.copy(path, folder / path.name)
    return folder


def _commands(photos: Path, folder: Path) -> dict[str, Callable[[str], list[str]]]:
    corpus, store = str(photos), folder / "store"
    build = ["build", corpus, "--encoder", "dct", "--resolution", "256"]

    def fresh(side: str) -> list[str]:
        shutil.rmtree(f"{store}-{side}", ignore_errors=True)
        return [build[0], build[1], f"{store}-{side}", *build[2:]]

    def finished(side: str) -> list[str]:
        return [build[0], build[1], f"{store}-{side}", *build[2:]]

    def estimate(side: str) -> list[str]:
        estimated = f"{store}-estimated-{side}"
        return ["plan", corpus, estimated, "--estimate", "--encoder", "dct", "--resolution", "256"]

    wrong = str(folder / "wrong")
    return {
        "build of 24 photos": fresh,
        "the same, finished": finished,
        "plan --estimate": estimate,
        "encoders": lambda _: ["encoders"],
        "a misspelt path": lambda _: ["build", corpus + "x", wrong, "--encoder", "dct"],
        "an unknown encoder": lambda _: ["plan", corpus, wrong, "--estimate", "--encoder", "dtc"],
        "weights that are not there": lambda _: ["build", corpus, wrong, "--encoder", "flux:/no"],
    }


def _row(title: str, command: Callable[[str], list[str]], old: Path, rounds: int) -> str:
    runs: dict[str, list[Run]] = {"old": [], "now": []}
    for number in range(rounds + 1):
        for side, tree in (("old", old), ("now", Path.cwd())):
            arguments = [sys.executable, "-m", "latentcache", *command(side)]
            runs[side].append(run_command(arguments, tree))
        if not number:  # it wrote bytecode and filled the file cache
            runs = {"old": [], "now": []}
    cells = [title]
    for figure in ("wall_s", "cpu_s"):
        before, after = (median(runs[side], figure) for side in ("old", "now"))
        cells += [spread(runs["old"], figure), spread(runs["now"], figure)]
        cells.append(f"**{after / before:.2f}**")
    cells += [spread(runs[side], "first_word_s") for side in ("old", "now")]
    cells.append("/".join(str(runs[side][-1].code) for side in ("old", "now")))
    return "| " + " | ".join(cells) + " |"


def _empty(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return str(folder)


if __name__ == "__main__":
    main()
