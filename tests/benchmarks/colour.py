"""Errors of frames' colours against the definition of their matrix and range, in levels of 255.

    python -m tests.benchmarks.colour --old FOLDER_OF_ANOTHER_CHECKOUT

768 random colours in each matrix, range and depth: the mean error of red, green and blue, and
the largest, of this build, of another one, and of FFmpeg's scaler as PyAV asks it by default.
Prints a Markdown table.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from latentcache.decode import VideoTransform
from latentcache.decode.clips.video_pixels import FrameConverter
from tests.decode.colour_frames import (
    YCGCO,
    frame_of,
    middles,
    numbers_of,
    random_colours,
    shown,
)

Way = Callable[[av.VideoFrame], NDArray[np.uint8]]

FORMATS = (
    ("yuv420p", 8),
    ("yuv444p", 8),
    ("yuv420p10le", 10),
    ("yuv444p12le", 12),
    ("gray", 8),
    ("gbrp10le", 10),
)
MATRICES = {1: "BT.709", 6: "BT.601", 9: "BT.2020", YCGCO: "YCgCo", 2: "not named"}


def ours(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return FrameConverter(VideoTransform()).convert(frame, (frame.width, frame.height))


def default(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return frame.to_ndarray(format="rgb24")


def cases() -> list[tuple[str, int, int, bool]]:
    """Return (format, bits, matrix, is_full) of all rows."""
    found = []
    for pixel_format, bits in FORMATS:
        is_yuv = pixel_format.startswith("yuv")
        for matrix in MATRICES if is_yuv else (1,):
            ranges = (False, True) if pixel_format != "gbrp10le" and matrix != 2 else (False,)
            found.extend((pixel_format, bits, matrix, is_full) for is_full in ranges)
    return found


def errors(way: Way) -> list[tuple[list[float], float]]:
    """Return each row's mean error per channel and its largest."""
    found = []
    colours = random_colours()
    for pixel_format, bits, matrix, is_full in cases():
        meant = 6 if matrix == 2 else matrix  # 512 px wide: players guess BT.601
        facts = {"matrix": meant, "is_full": is_full, "bits": bits}
        if pixel_format.startswith("gbr"):
            numbers = np.round(colours * (2**bits - 1)).astype(int)
            frame = frame_of([numbers[..., at] for at in (1, 2, 0)], pixel_format, bits=bits)
            expected = 255 * numbers / (2**bits - 1)
        else:
            planes = numbers_of(colours, **facts)
            if pixel_format == "gray":
                grey = np.full_like(planes[1], 2 ** (bits - 1))
                expected = shown([planes[0], grey, grey], **facts)
                planes = planes[:1]
            else:
                expected = shown(planes, **facts)
            frame = frame_of(planes, pixel_format, bits=bits)
            frame.colorspace, frame.color_range = matrix, 2 if is_full else 1
            if matrix == 2:
                frame.color_range = 0
        try:
            error = middles(way(frame), *colours.shape[:2]) - expected
        except OSError:
            found.append(([], 0.0))  # refused
            continue
        found.append(
            ([float(each) for each in error.mean(axis=(0, 1))], float(np.abs(error).max()))
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--old", type=Path, help="another checkout")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        print(json.dumps(errors(ours)))
        return
    columns = {"this build": errors(ours), "PyAV's default": errors(default)}
    if options.old:
        here = Path(__file__).resolve().parents[2]
        told = subprocess.run(
            [sys.executable, __file__, "--serve"],
            env={**os.environ, "PYTHONPATH": f"{options.old}:{here}"},
            capture_output=True,
            text=True,
            check=True,
        )
        columns = {"before": json.loads(told.stdout), **columns}
    print(f"| format | matrix | range | {' | '.join(columns)} |")
    print(f"| --- | --- | --- |{' --- |' * len(columns)}")
    for row, (pixel_format, _, matrix, is_full) in enumerate(cases()):
        cells = []
        for rows in columns.values():
            means, largest = rows[row]
            shown_means = " ".join(f"{each:+.2f}" for each in means)
            cells.append(f"{shown_means} ({largest:.1f})" if means else "refused")
        name = "-" if pixel_format.startswith("g") else MATRICES[matrix]
        extent = "full" if is_full or pixel_format.startswith("gbr") else "limited"
        print(f"| {pixel_format} | {name} | {extent} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
