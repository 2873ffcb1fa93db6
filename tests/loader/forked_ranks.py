"""Ranks of frameworks, forked from a process that has imported what they import.

``torchrun`` starts each rank with an environment of its own; so does this. Importing the
frameworks takes longer than all that the ranks do, so it is done once. That ``torchrun`` itself
starts ranks is seen in ``tests/jobs`` and in the page's example of DDP.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_S = 300
MODULES = (
    "torch.distributed.checkpoint.state_dict",
    "torch.distributed.device_mesh",
    "torch.distributed.fsdp",
    "accelerate",
    "lightning.fabric",
    "lightning",
    "transformers.trainer",
    "latentcache.loader.loader",
    "latentcache.loader.frameworks",
    "latentcache.testing.synthetic",
    "latentcache.train.dit",
    "latentcache.train.flow",
)
"""Frameworks that are not installed are passed over; their tests are skipped."""

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "ACCELERATE_USE_CPU": "1",
    "HF_HUB_OFFLINE": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "240",
}


def run_alone(arguments: list[str], folder: Path) -> str:
    """Return what a Python of its own prints; it must end in 0."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{folder}", **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert not done.returncode, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


class Forks:
    """Runs scripts in processes that have everything imported."""

    def __init__(self, template: "subprocess.Popen[str]") -> None:
        self._template = template

    def run(
        self,
        script: Path,
        arguments: list[str],
        *,
        num_ranks: int = 1,
        folder: Path,
        sets_ranks: bool = True,
    ) -> str:
        """Return what all ranks print; each must end in 0.

        Args:
            script: To run as a program.
            arguments: Of it.
            num_ranks: Processes.
            folder: Where they run.
            sets_ranks: Tell each which it is; False where the framework starts the others itself.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        ranks = []
        for rank in range(num_ranks):
            told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GROUP_RANK": "0"}
            told |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            told |= {"WORLD_SIZE": str(num_ranks), "LOCAL_WORLD_SIZE": str(num_ranks)}
            ranks.append(told if sets_ranks else {})
        job = {
            "argv": [str(script), *arguments],
            "folder": str(folder),
            "ranks": ranks,
            "outputs": [str(folder / f"output.{rank}") for rank in range(num_ranks)],
        }
        assert self._template.stdin is not None
        assert self._template.stdout is not None
        self._template.stdin.write(json.dumps(job) + "\n")
        self._template.stdin.flush()
        codes = json.loads(self._template.stdout.readline())
        told_all = "".join(Path(one).read_text(encoding="utf-8") for one in job["outputs"])
        assert not any(codes), f"{codes}\n{told_all[-6000:]}"
        return told_all


@contextmanager
def forks() -> Iterator[Forks]:
    """Yield what forks ranks."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.loader.forked_ranks"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as template:
        yield Forks(template)
        assert template.stdin is not None
        template.stdin.close()


def _rank(job: dict[str, Any], number: int) -> None:
    """Run one rank and leave with its code."""
    output = os.open(job["outputs"][number], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.alarm(LIMIT_S)  # one that hangs ends there, and its code says so
    os.chdir(job["folder"])
    os.environ.update(job["ranks"][number])
    sys.argv = list(job["argv"])
    sys.path.insert(0, job["folder"])
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:  # noqa: BLE001  told below, as the interpreter would
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    for name in MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        job = json.loads(line)
        pids = []
        for number in range(len(job["ranks"])):
            pid = os.fork()
            if pid == 0:
                _rank(job, number)
            pids.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        answers.write(json.dumps(codes) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
