"""Images per second per core: decode_image against plain Pillow on the same photos.

    python tests/benchmarks/decode.py PHOTO_FOLDER [PHOTO_FOLDER ...] --size 256 --rounds 7

Both ways give the centre square, shortest side resized. They take turns at every photo,
in CPU time of one thread, so the ratio survives a busy machine. Prints a Markdown table.
"""

import argparse
import io
import statistics
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from latentcache.core.media import Bucket, Geometry
from latentcache.decode import ImageLimits, ImageTransform, decode_image, probe_image

Pixels = NDArray[np.uint8]

LIMITS = ImageLimits()
TRANSFORM = ImageTransform()


def centre_square(data: bytes, size_px: int) -> Geometry:
    info = probe_image(io.BytesIO(data), size_bytes=len(data), limits=LIMITS)
    scale = size_px / min(info.width_px, info.height_px)
    width_px = max(size_px, round(info.width_px * scale))
    height_px = max(size_px, round(info.height_px * scale))
    return Geometry(
        source_width_px=info.width_px,
        source_height_px=info.height_px,
        resized_width_px=width_px,
        resized_height_px=height_px,
        crop_left_px=(width_px - size_px) // 2,
        crop_top_px=(height_px - size_px) // 2,
    )


def ours(data: bytes, geometry: Geometry, size_px: int) -> Pixels:
    bucket = Bucket(1, size_px, size_px)
    return decode_image(data, bucket, geometry, transform=TRANSFORM, limits=LIMITS)


def plain(data: bytes, geometry: Geometry, size_px: int) -> Pixels:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    resized = image.resize(
        (geometry.resized_width_px, geometry.resized_height_px), Image.Resampling.LANCZOS
    )
    left, top = geometry.crop_left_px, geometry.crop_top_px
    return np.array(resized.crop((left, top, left + size_px, top + size_px)))


def rates(photos: list[tuple[bytes, Geometry]], size_px: int) -> tuple[float, float]:
    """Return (plain, ours) in images per CPU second, taking turns at every photo."""
    seconds = {plain: 0.0, ours: 0.0}
    for data, geometry in photos:
        for decode in seconds:
            started = time.thread_time()
            decode(data, geometry, size_px)
            seconds[decode] += time.thread_time() - started
    return len(photos) / seconds[plain], len(photos) / seconds[ours]


def psnr_db(photos: list[tuple[bytes, Geometry]], size_px: int) -> list[float]:
    """Return our likeness to the plain way, for photos without a colour profile."""
    values = []
    for data, geometry in photos:
        if Image.open(io.BytesIO(data)).info.get("icc_profile"):
            continue  # plain Pillow ignores it; we do not
        left = ours(data, geometry, size_px).astype(float)
        error = float(((left - plain(data, geometry, size_px)) ** 2).mean())
        values.append(10 * np.log10(255**2 / max(error, 255**2 / 1e10)))
    return values


def measure(folder: Path, size_px: int, num_rounds: int) -> str:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    files = [path.read_bytes() for path in paths]
    photos = [(data, centre_square(data, size_px)) for data in files]
    probe_started = time.thread_time()
    for data in files:
        centre_square(data, size_px)
    probe_us = 1e6 * (time.thread_time() - probe_started) / len(files)
    quality = psnr_db(photos, size_px)  # also warms both ways up
    rounds = [rates(photos, size_px) for _ in range(num_rounds)]
    ratios = [ours_rate / plain_rate for plain_rate, ours_rate in rounds]
    plain_rate, ours_rate = (statistics.median(column) for column in zip(*rounds, strict=True))
    worst_db = f"{min(quality):.1f}" if quality else "-"
    megapixels = statistics.median(g.source_width_px * g.source_height_px / 1e6 for _, g in photos)
    return (
        f"| {folder.name} | {len(photos)} | {megapixels:.2f} "
        f"| {plain_rate:.0f} | {ours_rate:.0f} "
        f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
        f"| {worst_db} | {len(photos) - len(quality)} | {probe_us:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=256, help="side of the square in pixels")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(
        "| photos | files | Mpx (median) | plain, images/s | ours, images/s "
        "| ratio (spread) | PSNR to plain, worst, dB "
        "| with ICC profile | probe, us |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for folder in options.folders:
        print(measure(folder, options.size, options.rounds), flush=True)


if __name__ == "__main__":
    main()
