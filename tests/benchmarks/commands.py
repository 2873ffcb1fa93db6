"""One command of a checkout as a fresh process: what it took, all of its processes counted."""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_CPU_GROUPS = Path("/sys/fs/cgroup/cpuacct")


@dataclass(frozen=True)
class Run:
    """One command's run: wall and CPU seconds, seconds to its first byte, and exit code."""

    wall_s: float
    cpu_s: float
    first_word_s: float
    code: int


def run_command(command: Sequence[str], tree: Path) -> Run:
    """Run ``command`` in the checkout ``tree``, as a newcomer's shell would."""
    environment = dict(os.environ, PYTHONPATH=str(tree))
    for name in ("RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE"):  # a newcomer's Python keeps bytecode
        environment.pop(name, None)
    group = Path(tempfile.mkdtemp(dir=_CPU_GROUPS))
    begin = time.perf_counter()
    read, write = os.pipe()
    process = subprocess.Popen(
        ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", *command],
        cwd=tree,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=write,
    )
    os.close(write)
    first = os.read(read, 1)
    first_word_s = time.perf_counter() - begin if first else float("nan")
    while os.read(read, 1 << 16):
        pass
    code = process.wait()
    wall_s = time.perf_counter() - begin
    os.close(read)
    while (group / "cgroup.procs").read_text():  # daemons that end a little later
        time.sleep(0.05)
    cpu_s = int((group / "cpuacct.usage").read_text()) / 1e9
    group.rmdir()
    return Run(wall_s, cpu_s, first_word_s, code)


def median(runs: Sequence[Run], figure: str) -> float:
    """Return the median of a figure of ``Run``."""
    return statistics.median(getattr(run, figure) for run in runs)


def spread(runs: Sequence[Run], figure: str) -> str:
    """Return the median of a figure of ``Run``, with the smallest and the largest."""
    values = [getattr(run, figure) for run in runs]
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
