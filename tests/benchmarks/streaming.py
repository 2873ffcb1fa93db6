"""Peak memory of building a store of one whole clip, by the clip's length.

    python -m tests.benchmarks.streaming --minutes 1,4,16 --size 128

For each length a video is drawn, and ``latentcache build --clips whole`` makes a store of it in a
run of its own. While it runs, the resident memory of every process below it is read a few times
a second: of the driver, of the encode actor, and of the actor that decodes. Shared memory (Ray's
object store) is counted apart, as every process that looks at an object counts it. Prints a
Markdown table.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_FPS = 25
_TICK_S = 0.1
_KINDS = {
    "ray::EncodeWorker": "encode actor",
    "ray::ClipWorker": "decode actor",
    "-m latentcache": "driver",
}


@dataclass(slots=True)
class Peaks:
    """MiB at most.

    Attributes:
        own: Anonymous memory by kind of process; several of a kind are added.
        shared: The largest shared memory that one process maps.
    """

    own: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    shared: float = 0.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", default="1,4,16", help="lengths of the clip")
    parser.add_argument("--size", type=int, default=128, help="edge of the clip, pixels")
    parser.add_argument("--encoder", default="dct-video")
    arguments = parser.parse_args()
    print(
        "| clip | frames | store, MiB | seconds | driver | encode actor | decode actor | shared |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for text in arguments.minutes.split(","):
        print(_row(float(text), arguments.size, arguments.encoder), flush=True)


def _row(minutes: float, size_px: int, encoder: str) -> str:
    with tempfile.TemporaryDirectory(prefix="latentcache-streaming-") as folder:
        corpus, store = Path(folder) / "corpus", Path(folder) / "store"
        corpus.mkdir()
        num_frames = _draw(corpus / "clip.mp4", minutes, size_px)
        command = [sys.executable, "-m", "latentcache", "build", str(corpus), str(store)]
        options = ["--encoder", encoder, "--clips", "whole", "--resolution", str(size_px)]
        started_s = time.monotonic()
        build = subprocess.Popen(
            [*command, *options, "--actors", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peaks = _watch(build)
        seconds = time.monotonic() - started_s
        if build.returncode:
            raise SystemExit(f"the build failed with {build.returncode}")
        stored = sum(path.stat().st_size for path in store.rglob("*.tar")) / 2**20
    own = " | ".join(
        f"{peaks.own[kind]:.0f}" for kind in ("driver", "encode actor", "decode actor")
    )
    return (
        f"| {minutes:g} min | {num_frames} | {stored:.0f} | {seconds:.0f} | {own} "
        f"| {peaks.shared:.0f} |"
    )


def _draw(path: Path, minutes: float, size_px: int) -> int:
    """Write a video in which a pattern drifts; return its frames."""
    num_frames = round(minutes * 60 * _FPS)
    rows, columns = np.mgrid[:size_px, :size_px]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=_FPS, options={"preset": "ultrafast"})
        stream.width = stream.height = size_px
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _FPS)
        for number in range(num_frames):
            plane = (rows * 3 + columns * 2 + number * 5) % 256
            drawn = np.repeat(plane[..., None], 3, axis=2).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return num_frames


def _watch(build: "subprocess.Popen[bytes]") -> Peaks:
    peaks, pause = Peaks(), threading.Event()
    while build.poll() is None:
        now: dict[str, float] = defaultdict(float)
        for pid in _below(build.pid):
            kind = _kind(pid)
            if kind is not None:
                own, shared = _memory(pid)
                now[kind] += own
                peaks.shared = max(peaks.shared, shared)
        for kind, own in now.items():
            peaks.own[kind] = max(peaks.own[kind], own)
        pause.wait(_TICK_S)
    return peaks


def _below(root: int) -> list[int]:
    """Return ``root`` and every process under it."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _read(entry / "stat").rpartition(")")[2].split()
            if fields:
                children[int(fields[1])].append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children[found[-1]]
    return found


def _kind(pid: int) -> str | None:
    title = _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ")
    return next((kind for mark, kind in _KINDS.items() if mark in title), None)


def _memory(pid: int) -> tuple[float, float]:
    """Return MiB of a process's own and of shared memory."""
    lines = _read(Path(f"/proc/{pid}/status")).splitlines()
    sizes = {line.partition(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    own, shared = (int(sizes.get(name, 0)) / 1024 for name in ("RssAnon", "RssShmem"))
    return own, shared


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has ended meanwhile
        return ""


if __name__ == "__main__":
    main()
