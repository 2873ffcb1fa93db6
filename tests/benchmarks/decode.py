"""Images per second per core: this build against another one, plain Pillow and a bare decode.

    python -m tests.benchmarks.decode PHOTO_FOLDER [PHOTO_FOLDER ...] --size 256 --rounds 7 \
        --old FOLDER_OF_ANOTHER_CHECKOUT --large

All give the centre square, shortest side resized, but the bare decode, which only decodes
(simplejpeg, whole size). They take turns at every photo, in CPU time of one thread, so the
ratio survives a busy machine; another build runs in a process of its own. ``--large`` adds
photos of 12 megapixels, drawn from the first folder's. Prints a Markdown table.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from latentcache.core.media import Bucket, Geometry
from latentcache.decode import ImageLimits, ImageTransform, decode_image, probe_image

Pixels = NDArray[np.uint8]

LIMITS = ImageLimits()
LARGE_PX = (4000, 3000)


@dataclass(frozen=True)
class Photo:
    path: Path
    data: bytes
    geometry: Geometry
    size_px: int


def centre_square(path: Path, size_px: int) -> Photo:
    data = path.read_bytes()
    info = probe_image(io.BytesIO(data), size_bytes=len(data), limits=LIMITS)
    scale = size_px / min(info.width_px, info.height_px)
    width_px = max(size_px, round(info.width_px * scale))
    height_px = max(size_px, round(info.height_px * scale))
    geometry = Geometry(
        source_width_px=info.width_px,
        source_height_px=info.height_px,
        resized_width_px=width_px,
        resized_height_px=height_px,
        crop_left_px=(width_px - size_px) // 2,
        crop_top_px=(height_px - size_px) // 2,
    )
    return Photo(path, data, geometry, size_px)


class Ours:
    """This build, or the one on the import path of the process."""

    def __init__(self) -> None:
        self._transform = ImageTransform()

    def pixels(self, photo: Photo) -> Pixels:
        bucket = Bucket(1, photo.size_px, photo.size_px)
        return decode_image(
            photo.data, bucket, photo.geometry, transform=self._transform, limits=LIMITS
        )

    def cpu_s(self, photo: Photo) -> float:
        started = time.thread_time()
        self.pixels(photo)
        return time.thread_time() - started


class Plain:
    """Pillow: decode, turn upright, lanczos over the whole picture, crop."""

    def pixels(self, photo: Photo) -> Pixels:
        geometry, side = photo.geometry, photo.size_px
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(photo.data))).convert("RGB")
        resized = image.resize(
            (geometry.resized_width_px, geometry.resized_height_px), Image.Resampling.LANCZOS
        )
        left, top = geometry.crop_left_px, geometry.crop_top_px
        return np.array(resized.crop((left, top, left + side, top + side)))

    def cpu_s(self, photo: Photo) -> float:
        started = time.thread_time()
        self.pixels(photo)
        return time.thread_time() - started


class Bare:
    """libjpeg-turbo alone: the whole picture, not resized; other files count as nothing."""

    def cpu_s(self, photo: Photo) -> float:
        import simplejpeg  # noqa: PLC0415  another build has none

        started = time.thread_time()
        try:
            simplejpeg.decode_jpeg(photo.data)
        except ValueError:
            return 0.0
        return time.thread_time() - started


class Other:
    """Another checkout, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(folder)},
        )

    def cpu_s(self, photo: Photo) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = [str(photo.path), photo.size_px, asdict(photo.geometry)]
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve() -> None:
    """Answer, line by line, with the CPU seconds that a photo took."""
    ways = Ours()
    for line in sys.stdin:
        path, size_px, geometry = json.loads(line)
        photo = Photo(Path(path), Path(path).read_bytes(), Geometry(**geometry), size_px)
        print(ways.cpu_s(photo), flush=True)


def draw_large(folder: Path, into: Path, count: int) -> Path:
    """Write photos of 12 megapixels: real ones enlarged, with the noise of a sensor."""
    into = into / "12 Mpx, drawn"
    into.mkdir()
    draw = np.random.default_rng(0)
    for path in photos_of(folder)[:count]:
        picture = Image.open(path).convert("RGB").resize(LARGE_PX, Image.Resampling.BICUBIC)
        noise = draw.normal(0, 4, (LARGE_PX[1], LARGE_PX[0], 1))
        noisy = np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(into / f"{path.stem}.jpg", quality=85)
    return into


def photos_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))


def psnr_db(photos: list[Photo]) -> list[float]:
    """Return our likeness to the plain way, for photos without a colour profile."""
    values = []
    for photo in photos:
        if Image.open(io.BytesIO(photo.data)).info.get("icc_profile"):
            continue  # plain Pillow ignores it; we do not
        left, right = (way.pixels(photo).astype(float) for way in (Ours(), Plain()))
        error = float(((left - right) ** 2).mean())
        values.append(10 * np.log10(255**2 / max(error, 255**2 / 1e10)))
    return values


def measure(folder: Path, size_px: int, num_rounds: int, ways: dict[str, Any]) -> str:
    photos = [centre_square(path, size_px) for path in photos_of(folder)]
    probe_started = time.thread_time()
    for photo in photos:
        probe_image(io.BytesIO(photo.data), size_bytes=len(photo.data), limits=LIMITS)
    probe_us = 1e6 * (time.thread_time() - probe_started) / len(photos)
    quality = psnr_db(photos)
    rounds: list[dict[str, float]] = []
    for _ in range(num_rounds + 1):
        seconds = dict.fromkeys(ways, 0.0)
        for photo in photos:
            for name, way in ways.items():
                seconds[name] += way.cpu_s(photo)
        rounds.append(seconds)
    rounds = rounds[1:]  # the first one warms everybody up
    cells = []
    for name in ways:
        ms = statistics.median(1e3 * each[name] / len(photos) for each in rounds)
        cells.append(f"{ms:.2f}")
    for name in [name for name in ways if name != "ours"]:
        ratios = [each[name] / each["ours"] for each in rounds]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    worst_db = f"{min(quality):.1f}" if quality else "-"
    megapixels = statistics.median(
        p.geometry.source_width_px * p.geometry.source_height_px / 1e6 for p in photos
    )
    return (
        f"| {folder.name} | {len(photos)} | {megapixels:.2f} | {size_px} | "
        f"{' | '.join(cells)} | {worst_db} | {probe_us:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--size", type=int, nargs="+", default=[256], help="sides of the square")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--old", type=Path, help="another checkout, measured beside this one")
    parser.add_argument("--large", type=int, default=0, help="so many photos of 12 megapixels too")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    ways: dict[str, Any] = {"ours": Ours(), "plain": Plain(), "bare": Bare()}
    if options.old:
        ways["old"] = Other(options.old)
    names = [*(f"{n}, ms" for n in ways), *(f"{n} / ours" for n in ways if n != "ours")]
    columns = ["photos", "files", "Mpx (median)", "side, px", *names]
    columns += ["PSNR to plain, worst, dB", "probe, us"]
    print(f"| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|")
    with tempfile.TemporaryDirectory() as drawn:
        folders = list(options.folders)
        if options.large:
            folders.append(draw_large(folders[0], Path(drawn), options.large))
        for folder in folders:
            for size_px in options.size:
                print(measure(folder, size_px, options.rounds, ways), flush=True)
    if options.old:
        ways["old"].close()


if __name__ == "__main__":
    main()
