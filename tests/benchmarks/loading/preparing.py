"""Data sets, each made once by the competitor's own writer in a process of its own."""

import importlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.loading.cases import CASES, Case, digests_of, iter_blocks
from tests.benchmarks.loading.entries import Entry
from tests.benchmarks.loading.page_cache import files_of, iter_sizes

OVERHEAD_BYTES = 1536
"""On disk per latent, at most: a tar's headers, or the rest of a small file's last block."""
WITHOUT_COPY = {"energon"}
MANY = "ours_many"
MODULE = "tests.benchmarks.loading.preparing"


class PreparationError(Exception):
    """A competitor could not write its data set."""


def case_folder(work: Path, case: Case) -> Path:
    """Return where the data sets of a case lie."""
    return work / f"{case.name}-{case.num_samples}"


def digests_path(work: Path, case: Case, folder: str) -> Path:
    """Return the digests of the source latents; another cut into shards draws others."""
    return case_folder(work, case) / ("digests-many.npy" if folder == MANY else "digests.npy")


def prepare(work: Path, case: Case, entries: list[Entry]) -> dict[str, str]:
    """Make the data sets that ``entries`` need and are not there; return who failed, and how."""
    root = case_folder(work, case)
    root.mkdir(parents=True, exist_ok=True)
    failed = {}
    # Energon links to the tars of ours, which are then there.
    for name in dict.fromkeys(["ours", *(entry.folder for entry in entries)]):
        _write_digests(digests_path(work, case, name), case, is_many=name == MANY)
        done = root / f"{name}.done"
        if done.exists():
            continue
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir()
        try:
            _run(case, name, root / name)
        except PreparationError as error:
            failed[name] = str(error)
        else:
            done.touch()
    os.sync()
    return failed


def missing_bytes(work: Path, case: Case, entries: list[Entry]) -> int:
    """Return what ``prepare`` would write, at most."""
    names = {entry.folder for entry in entries} | {"ours"}
    root = case_folder(work, case)
    missing = [name for name in names - WITHOUT_COPY if not (root / f"{name}.done").exists()]
    return case.num_samples * (case.row_bytes + OVERHEAD_BYTES) * len(missing)


def used_bytes(work: Path) -> int:
    """Return what all data sets take."""
    return sum(iter_sizes(files_of(work)))


def _write_digests(path: Path, case: Case, *, is_many: bool) -> None:
    if path.exists():
        return
    rows = case.many_rows_per_shard if is_many else case.rows_per_shard
    np.save(path, np.concatenate([digests_of(block) for block in iter_blocks(case, rows)]))


def _run(case: Case, name: str, folder: Path) -> None:
    began = time.monotonic()
    print(f"writing {case.name} {name}", end=" ", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", MODULE, case.name, str(case.num_samples), name, str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if answer.returncode:
        raise PreparationError(last_line(answer.stderr))


def last_line(text: str) -> str:
    """Return the last line that says something: of a traceback, the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"


def main() -> None:
    """Write one data set."""
    name, num_samples, module, folder = sys.argv[1:]
    peer: Any = importlib.import_module(f"tests.benchmarks.loading.peers.{module}")
    peer.write(CASES[name].of(int(num_samples)), Path(folder))


if __name__ == "__main__":
    main()
