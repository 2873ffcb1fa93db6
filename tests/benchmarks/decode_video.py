"""Frames of a clip per CPU second: ours, torchcodec's, and a plain decode of the whole file.

    python -m tests.benchmarks.decode_video --rounds 5 --torchcodec /tmp/codec_peers/bin/python

Draws long videos at 480p and 4K with key frames far apart and near, and asks for clips in their
middle, between two key frames, at 480x832. All take turns on one core each, in CPU time, so the
ratios survive a busy machine; torchcodec runs in an environment of its own
(requirements-decode.txt) with the FFmpeg that PyAV brings. Prints Markdown tables.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from latentcache.core.media import Bucket, Geometry, SourceRef
from latentcache.decode import ClipReader, ClipRequest, VideoTransform, decode_clip
from latentcache.plan import open_source
from latentcache.storage import Folder

HEIGHT_PX, WIDTH_PX, RATE = 480, 832, 30
SIZES = {"480p": (854, 480), "4K": (3840, 2160)}
TRANSFORM = VideoTransform()
Clip = tuple[Path, ClipRequest, int]


def draw_video(path: Path, size_px: tuple[int, int], num_frames: int, gap: int) -> None:
    """Write a video that pans over a grainy texture, as H.264 with B-frames."""
    width, height = size_px
    draw = np.random.default_rng(0)
    coarse = draw.integers(30, 220, (height // 8 + 64, width // 8 + 64)).astype(np.float32)
    texture = np.kron(coarse, np.ones((8, 8), np.float32))
    for axis in (0, 1):
        texture = (np.roll(texture, 1, axis) + np.roll(texture, -1, axis) + 2 * texture) / 4
    grain = draw.normal(0, 2, texture.shape)
    picture = np.clip(texture + grain, 0, 255).astype(np.uint8)
    options = {"preset": "superfast", "crf": "28", "g": str(gap), "keyint_min": str(gap)}
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=RATE, options={**options, "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(num_frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane, way in zip(frame.planes, (3, 1, 2), strict=True):
                lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
                right, down = way * number % 400, number % 400
                shown = picture[down : down + plane.height, right : right + plane.width]
                lines[: plane.height, : plane.width] = shown
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def clip_of(path: Path, size_px: tuple[int, int], first: int, num_frames: int) -> Clip:
    """Return a clip that begins at a frame, its shorter side resized, its centre kept."""
    scale = max(HEIGHT_PX / size_px[1], WIDTH_PX / size_px[0])
    width, height = (round(scale * length) for length in size_px)
    geometry = Geometry(
        source_width_px=size_px[0],
        source_height_px=size_px[1],
        resized_width_px=max(width, WIDTH_PX),
        resized_height_px=max(height, HEIGHT_PX),
        crop_left_px=(width - WIDTH_PX) // 2,
        crop_top_px=(height - HEIGHT_PX) // 2,
    )
    bucket = Bucket(num_frames, HEIGHT_PX, WIDTH_PX)
    request = ClipRequest(
        bucket=bucket, geometry=geometry, start_s=first / RATE, frame_rate_fps=float(RATE)
    )
    return path, request, first


def ours(clip: Clip) -> None:
    path, request, _ = clip
    with path.open("rb") as file:
        decode_clip(file, request, size_bytes=path.stat().st_size, transform=TRANSFORM)


def ours_with_digest(clip: Clip) -> None:
    """As a decode task that has not seen the file yet."""
    os.utime(clip[0])
    source = SourceRef(path=clip[0].name)
    with open_source(Folder.open(clip[0].parent), source) as (file, size_bytes, _):
        decode_clip(file, clip[1], size_bytes=size_bytes, transform=TRANSFORM)


def plain(clip: Clip) -> None:
    """Decode the file from its beginning to its end, keep the clip."""
    path, request, first = clip
    geometry, kept = request.geometry, []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for number, frame in enumerate(container.decode(stream)):
            if first <= number < first + request.bucket.num_frames:
                size = (geometry.resized_width_px, geometry.resized_height_px)
                kept.append(frame.reformat(*size, "rgb24", threads=1).to_ndarray())
    np.stack(kept)


class TorchCodec:
    """A process of torchcodec's environment that decodes what it is told."""

    def __init__(self, python: str, links: Path) -> None:
        libraries = Path(av.__file__).parent.parent / "av.libs"
        links.mkdir(exist_ok=True)
        for library in libraries.glob("lib*-*.so.*"):
            name, version = library.name.partition("-")[0], library.name.split(".so.")[1]
            link = links / f"{name}.so.{version.partition('.')[0]}"
            if not link.exists():
                link.symlink_to(library)
        script = Path(__file__).with_name("decode_video_torchcodec.py")
        self._process = subprocess.Popen(
            [python, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LD_LIBRARY_PATH": f"{links}:{libraries}"},
        )
        self.start_kib: int = self._answer()["peak_kib"]
        self.peak_kib = self.start_kib

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        return answer

    def cpu_s(self, clip: Clip, mode: str = "exact") -> float:
        """Return what a clip cost it, decoder opened and frames resized."""
        path, request, first = clip
        order = {
            "path": str(path),
            "first": first,
            "num_frames": request.bucket.num_frames,
            "size": (request.geometry.resized_width_px, request.geometry.resized_height_px),
            "mode": mode,
        }
        assert self._process.stdin is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = self._answer()
        self.peak_kib = int(answer["peak_kib"])
        return answer["cpu_s"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def cpu_s(decode: Callable[[Clip], None], clip: Clip) -> float:
    started = time.process_time()
    decode(clip)
    return time.process_time() - started


def measure(clip: Clip, num_rounds: int, peer: TorchCodec | None) -> dict[str, list[float]]:
    """Return CPU seconds per round of each way; the whole file is decoded in the first alone."""
    found: dict[str, list[float]] = {"plain": [cpu_s(plain, clip)]}
    cpu_s(ours, clip)  # tables and imports
    for _ in range(num_rounds):
        found.setdefault("ours", []).append(cpu_s(ours, clip))
        found.setdefault("digest", []).append(cpu_s(ours_with_digest, clip))
        if peer is not None:
            for mode in ("exact", "approximate"):
                found.setdefault(mode, []).append(peer.cpu_s(clip, mode))
    return found


def row(name: str, gap: int, clip: Clip, found: dict[str, list[float]]) -> str:
    num_frames = clip[1].bucket.num_frames
    ways = ("plain", "exact", "approximate", "ours", "digest")
    rates = [
        f"{num_frames / statistics.median(found[way]):.1f}" if way in found else "-" for way in ways
    ]
    cells = [name, str(gap), str(num_frames), *rates]
    for other in ("plain", "exact", "approximate"):
        if other not in found:
            cells.append("-")
            continue
        theirs = found[other] * (len(found["ours"]) if other == "plain" else 1)
        ratios = [them / us for them, us in zip(theirs, found["ours"], strict=False)]
        median = statistics.median(ratios)
        cells.append(f"{median:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return f"| {' | '.join(cells)} |"


def peak_mib(path: Path, group: int) -> float:
    """Return what decoding 81 frames adds to a fresh process, whole (0) or in groups."""
    command = [sys.executable, "-m", "tests.benchmarks.decode_video", "--peak-of", str(path)]
    told = subprocess.run(
        [*command, "--peak-group", str(group)], capture_output=True, text=True, check=True
    )
    return float(told.stdout)


def peak_kib() -> int:
    """Return this process's peak; ``getrusage`` tells that of whoever started it, if larger."""
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    ]
    return int(line.split()[1])


def tell_peak(clip: Clip, group: int) -> None:
    path, request, _ = clip
    size_bytes = path.stat().st_size
    before_kib = peak_kib()
    with path.open("rb") as file:
        if group:
            with ClipReader(
                file, request, size_bytes=size_bytes, transform=TRANSFORM, max_group_frames=group
            ) as groups:
                for _ in groups:
                    pass
        else:
            decode_clip(file, request, size_bytes=size_bytes, transform=TRANSFORM)
    print((peak_kib() - before_kib) / 1024)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/latentcache-decode-video"))
    parser.add_argument("--seconds", type=int, default=60, help="length of the 480p videos")
    parser.add_argument("--seconds-4k", type=int, default=15, help="length of the 4K videos")
    parser.add_argument("--sources", nargs="+", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--frames", type=int, nargs="+", default=[17, 81])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torchcodec", default="", help="python of an environment that has it")
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peak-group", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def middle(num_frames: int, gap: int) -> int:
    """Return a frame near the middle that lies between two key frames."""
    return num_frames // 2 // gap * gap + gap // 2


def main() -> None:
    options = parsed()
    if options.peak_of:
        tell_peak(clip_of(options.peak_of, SIZES["4K"], 45, 81), options.peak_group)
        return
    options.folder.mkdir(exist_ok=True)
    lengths = {"480p": options.seconds * RATE, "4K": options.seconds_4k * RATE}
    peer = None
    if options.torchcodec:
        peer = TorchCodec(options.torchcodec, options.folder / "libraries")
    print(
        "| source | key frames every | clip | whole file, plain PyAV | torchcodec exact "
        "| torchcodec approximate | ours | ours with digest | ours / plain | ours / exact "
        "| ours / approximate |"
    )
    print("| --- " * 11 + "|")
    for name in options.sources:
        size_px = SIZES[name]
        for gap in (250, 30):
            path = options.folder / f"{name}-{lengths[name]}-{gap}.mp4"
            if not path.exists():
                draw_video(path, size_px, lengths[name], gap)
            for num_frames in options.frames:
                clip = clip_of(path, size_px, middle(lengths[name], gap), num_frames)
                print(row(name, gap, clip, measure(clip, options.rounds, peer)), flush=True)
    print(f"\nours, 81 frames of 4K: {peak_mib(path, 0):.0f} MiB over an idle process")
    print(f"ours, in groups of 8: {peak_mib(path, 8):.0f} MiB over an idle process")
    if peer is not None:
        print(f"torchcodec: {(peer.peak_kib - peer.start_kib) / 1024:.0f} MiB over an idle process")
        peer.close()


if __name__ == "__main__":
    main()
