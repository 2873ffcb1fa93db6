"""The job files on a real Slurm: two nodes on this machine, started and stopped here."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from latentcache import open_store
from latentcache.testing.drawn import write_drawn_corpus

REPOSITORY = Path(__file__).resolve().parents[2]
SLURM = REPOSITORY / "infra" / "slurm"
NEEDED = ("slurmctld", "slurmd", "sbatch", "munged")
PATH = f"{os.environ['PATH']}:/usr/sbin"

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(shutil.which(name, path=PATH) for name in NEEDED),
        reason="needs root and Debian's slurm-wlm and munge",
    ),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Yield what runs a command of Slurm and returns what it printed."""
    folder = tmp_path_factory.mktemp("slurm")
    environment = {
        **os.environ,
        "PATH": PATH,
        "PYTHONPATH": str(REPOSITORY),
        "SLURM_CONF": str(folder / "slurm.conf"),
        "LATENTCACHE_VENV": sys.prefix,
        "FIRST_PORT": "27817",
    }

    def call(*words: str | Path) -> str:
        return subprocess.run(
            words, env=environment, capture_output=True, text=True, check=True, timeout=500
        ).stdout

    call(SLURM / "loopback.sh", "start", folder)
    yield call
    call(SLURM / "loopback.sh", "stop", folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "photos"
    write_drawn_corpus(folder, 300, size_px=128, num_broken=1, layout="classes")
    return folder


def _recipe(corpus: Path, folder: Path) -> Path:
    path = folder / "build.toml"
    path.write_text(
        f'corpus = "{corpus}"\nstore = "{folder / "store"}"\n'
        '[plan]\nresolution = 128\n[encode]\nencoder = "dct"\n',
        encoding="utf-8",
    )
    return path


def _sums(store: Path) -> list[tuple[str, str]]:
    units = open_store(str(store)).snapshot().columns["latents"].units()
    return [(each.tar.sha256 if each.tar else "", each.meta.sha256) for each in units]


def _submit(slurm: Callable[..., str], folder: Path, *words: str | Path) -> tuple[str, Path]:
    """Return the number of a job and its log."""
    printed = slurm("sbatch", "--parsable", "--time=15", f"--output={folder}/job.log", *words)
    return printed.strip(), folder / "job.log"


def _wait(slurm: Callable[..., str], job: str, log: Path, sign: str) -> str:
    """Return a log once it has a line, or once the job has ended without it."""
    deadline_s = time.monotonic() + 300
    while time.monotonic() < deadline_s:
        text = log.read_text(encoding="utf-8") if log.exists() else ""
        state = re.search(r"JobState=(\w+)", slurm("scontrol", "show", "job", job))
        if re.search(sign, text) or (state and state[1] in ("FAILED", "TIMEOUT", "CANCELLED")):
            return text
        time.sleep(0.5)
    raise AssertionError(f"no {sign!r} within 300 s:\n{text}")


def test_build_whose_time_is_up_goes_on_in_the_queue_and_ends_in_the_same_bytes(
    slurm: Callable[..., str], corpus: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    here = [sys.executable, "-m", "latentcache", "build", str(corpus), str(alone)]
    subprocess.run([*here, "--resolution", "128"], check=True, capture_output=True)

    script = [SLURM / "build.sbatch", _recipe(corpus, tmp_path)]
    job, log = _submit(slurm, tmp_path, "--nodes=2", *script)
    _wait(slurm, job, log, "joining the Ray cluster")
    # What Slurm itself sends before the time limit; limits are whole minutes.
    slurm("scancel", "--batch", "--signal=USR1", job)
    text = _wait(slurm, job, log, "DUE TO JOB REQUEUE")
    assert "time is up; the job goes into the queue again" in text
    assert "start 1 of" not in text
    slurm("scontrol", "update", f"jobid={job}", "StartTime=now")

    text = _wait(slurm, job, log, "snapshot 1 serves it")
    assert f"start 1 of job {job} on n[1-2]" in text
    assert "Traceback" not in text
    assert _sums(tmp_path / "store") == _sums(alone)
    _wait_for_end(slurm, job)
    assert not Path(f"/tmp/lc-{job}").exists()
    assert (
        f"/tmp/lc-{job}/"
        not in subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout
    )


def _wait_for_end(slurm: Callable[..., str], job: str) -> None:
    deadline_s = time.monotonic() + 120
    while "JobState=COMPLETED" not in slurm("scontrol", "show", "job", job):
        assert time.monotonic() < deadline_s
        time.sleep(0.5)


def test_recipe_that_is_wrong_ends_the_job_with_a_sentence_and_no_requeue(
    slurm: Callable[..., str], tmp_path: Path
) -> None:
    recipe = tmp_path / "build.toml"
    recipe.write_text('corpus = "/nowhere"\nstor = "x"\n', encoding="utf-8")
    job, log = _submit(slurm, tmp_path, SLURM / "build.sbatch", recipe)
    text = _wait(slurm, job, log, "never")
    assert "'stor'" in text
    assert "Traceback" not in text
    shown = slurm("scontrol", "show", "job", job)
    assert "JobState=FAILED" in shown
    assert "ExitCode=2:0" in shown
    assert "Restarts=0" in shown
