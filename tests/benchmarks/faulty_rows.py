"""A manifest whose every row has a fault: what plan, build and status take, by number of rows.

python -m tests.benchmarks.faulty_rows FOLDER 1000000
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

_LOOK_EVERY_S = 0.2


def write_manifest(folder: Path, num_rows: int) -> Path:
    """Write pictures and a manifest in which ten kinds of faults take turns; return its path."""
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64), (1, 2, 3)).save(folder / "good.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    path = folder / "m.jsonl"
    with path.open("wb") as file:
        for number in range(num_rows):
            file.write(_line(number) + b"\n")
    return path


def _line(number: int) -> bytes:
    row = (
        {"path": f"absent{number}.png", "caption": "x"},
        {"path": None, "caption": "x"},
        b'{"path": "good.png", "caption": ',
        {"path": "../outside.png"},
        {"path": f"s3://none\x00{number}/a.png"},
        {"path": "broken.jpg", "start_s": number, "end_s": number + 1},
        {"path": f"folder\\absent{number}.png"},
        b'\xff\xfe{"path": 3}',
        ["a list"],
        {"path": {"no": "text"}},
    )[number % 10]
    return row if isinstance(row, bytes) else json.dumps(row).encode()


def measured(arguments: list[str]) -> str:
    """Return exit code, seconds, peak memory of the command's own process, and lines it printed."""
    started_s, peak_kib = time.monotonic(), 0
    command = [sys.executable, "-m", "latentcache", *arguments]
    with tempfile.TemporaryFile() as out:
        run = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        while run.poll() is None:
            peak_kib = max([peak_kib, *_peaks(run.pid)])
            time.sleep(_LOOK_EVERY_S)
        out.seek(0)
        num_lines = len(out.read().splitlines())
    seconds = time.monotonic() - started_s
    return (
        f"{arguments[0]}: exit {run.returncode}, {seconds:.0f} s, {peak_kib / 1024:.0f} MiB, "
        f"{num_lines} lines"
    )


def _peaks(pid: int) -> Iterator[int]:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended meanwhile
        return
    yield from (int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM"))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("num_rows", type=int)
    asked = parser.parse_args()
    manifest = str(write_manifest(asked.folder / "corpus", asked.num_rows))
    store = str(asked.folder / "store")
    for arguments in (
        ["plan", manifest, store, "--resolution", "64"],
        ["build", manifest, store, "--resolution", "64"],
        ["status", store],
        ["status", store, "--quarantined"],
    ):
        print(measured(arguments), flush=True)


if __name__ == "__main__":
    main()
