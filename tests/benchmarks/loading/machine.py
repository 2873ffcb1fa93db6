"""The machine: what it is, and how much of it others took meanwhile."""

import os
import platform
import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1
PACKAGES = (
    "torch",
    "numpy",
    "pyarrow",
    "mosaicml-streaming",
    "litdata",
    "webdataset",
    "datasets",
    "pylance",
    "megatron-energon",
    "safetensors",
)


def busy_s() -> float:
    """Return CPU seconds that the whole machine has worked, stolen time included."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def own_s() -> float:
    """Return CPU seconds of this process and of all its ended children."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


def describe() -> str:
    """Return processor, cores, memory and versions as Markdown items."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = model[0] if model else platform.machine()
    lines = [
        f"- Machine: {processor}, {CORES} cores, {gib:.0f} GiB, {platform.system()} "
        f"{platform.release()}",
        f"- Python {platform.python_version()}, "
        + ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    ]
    return "\n".join(lines)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(missing)"
