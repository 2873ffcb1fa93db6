"""The store that the quickstart makes, of drawn photos in class folders, for what pages show."""

from pathlib import Path

from click.testing import CliRunner
from PIL import Image, ImageDraw

from latentcache.cli.entry import cli

CLASSES = ("boats", "harbour at dusk", "nets")
SIZES = ((96, 96), (128, 72))
NUM_SAMPLES = 96


def build_store(folder: Path) -> Path:
    """Return ``build/store`` in a folder: three classes, two buckets, a caption for most."""
    photos = folder / "photos"
    for number in range(NUM_SAMPLES):
        kind, size = number % len(CLASSES), SIZES[number % 5 == 0]
        picture = Image.new("RGB", size, (60 * kind, 90, 2 * number))
        left, top = number % 40, (7 * number) % 30
        ImageDraw.Draw(picture).ellipse((left, top, left + 30, top + 30), (250, 200, 2 * number))
        (photos / CLASSES[kind]).mkdir(parents=True, exist_ok=True)
        path = photos / CLASSES[kind] / f"{number:03d}.png"
        picture.save(path)
        if number % 4:
            path.with_suffix(".txt").write_text(f"{CLASSES[kind]} in spring, number {number}")
    store = folder / "build" / "store"
    flags = ["--encoder", "dct", "--resolution", "64", "--device", "cpu"]
    done = CliRunner().invoke(cli, ["build", str(photos), str(store), *flags])
    assert done.exit_code == 0, done.output
    return store
