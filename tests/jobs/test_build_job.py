"""``jobs/build.py``: recipes in, exit codes out; and for real on a Ray head with a token."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from latentcache.core.errors import ConfigError
from latentcache.runner.build_recipe import read_recipe
from latentcache.store import Store
from latentcache.testing.drawn import write_drawn_corpus

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPOSITORY / "jobs" / "configs").glob("*.toml"))
CONFIGS = [path for path in CONFIGS if not path.name.startswith("train_")]
TIMEOUT_S = 240
FAKES = "latentcache.testing.fakes"


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in CONFIGS])
def test_example_recipe_is_valid(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.corpus
    assert recipe.store


def test_misspelt_key_names_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('corpus = "a"\n[plan]\nresolutoin_px = 256\n')
    with pytest.raises(ConfigError, match="resolution"):
        read_recipe(path)


def _run_job(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    variables = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "jobs/build.py", *arguments],
        cwd=REPOSITORY,
        env={**variables, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.slow
def test_wrong_recipe_is_one_sentence_and_code_2(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('corpus = "/a"\nstore = "/b"\n[encode]\nencodr = "dct"\n')
    done = _run_job(str(path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: .*encodr.*encoder.*\n", done.stderr)


@pytest.mark.slow
def test_submitted_job_refuses_a_store_in_its_working_folder(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('corpus = "/a"\nstore = "store"\n')
    done = _run_job(str(path), RAY_ADDRESS="127.0.0.1:1")
    assert done.returncode == 2
    assert "every node sees" in done.stderr


@dataclass(frozen=True)
class Head:
    """A running head; ``ray job`` commands reach it by environment."""

    environment: dict[str, str]

    def ray_job(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(Path(sys.executable).parent / "ray"), "job", *arguments],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def submit(self, name: str, recipe: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
        command = ["python", "build.py", str(recipe)]
        return self.ray_job(
            "submit", "--submission-id", name, *flags, "--working-dir", "jobs", "--", *command
        )

    def logs(self, name: str) -> str:
        return self.ray_job("logs", name).stdout

    def status(self, name: str) -> str:
        told = self.ray_job("status", name)
        return told.stdout + told.stderr


def _free_ports(count: int) -> Iterator[int]:
    """Yield ports that are free now and outside Ray's worker range."""
    found = 0
    for port in range(20_200 + os.getpid() % 7_000, 32_000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                yield port
                found += 1
        if found == count:
            return


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("head")
    names = ("HEAD_PORT", "DASHBOARD_PORT", "AGENT_PORT", "CLIENT_PORT")
    ports = dict(zip(names, map(str, _free_ports(4)), strict=True))
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**plain, **ports, "HEAD_CPUS": "2"}
    environment["PYTHON_BIN"] = str(Path(sys.executable).parent)
    started = subprocess.run(
        ["infra/start_head.sh", str(folder)], cwd=REPOSITORY, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert started.returncode == 0, started.stdout
    token = (folder / "token").read_text()
    assert token not in started.stdout
    told = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{ports['DASHBOARD_PORT']}",
        "NO_COLOR": "1",
    }
    try:
        yield Head(environment={**plain, **told})
    finally:
        subprocess.run(
            ["infra/stop_head.sh", str(folder)], cwd=REPOSITORY, timeout=TIMEOUT_S, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        assert not (folder / "head.pid").exists()
        shutil.rmtree((folder / "session").read_text())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_drawn_corpus(folder, 40, size_px=64, num_broken=1)
    return folder


def _write_recipe(folder: Path, corpus: Path, **encode: str) -> Path:
    path = folder / "recipe.toml"
    lines = [f'corpus = "{corpus}"', f'store = "{folder / "store"}"']
    lines += ["[plan]", "resolution = 64", "rows_per_shard = 4", "[resources]"]
    lines += ["max_quarantine = 0.2", "actors = 1", 'device = "cpu"', "[encode]"]
    lines += [f'{name} = "{value}"' for name, value in encode.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def _num_commits(store: Path) -> int:
    return len(list(store.glob("encodings/*/*/commits/*.json")))


def _wait_for(what: Callable[[], bool]) -> None:
    """Poll: what is awaited happens in another process, which has no clock to inject."""
    stop_at = time.monotonic() + TIMEOUT_S
    while not what():
        assert time.monotonic() < stop_at
        time.sleep(0.05)


@pytest.mark.ray
@pytest.mark.slow
def test_stopped_job_leaves_a_store_that_the_next_finishes_with_its_result_in_the_log(
    head: Head, corpus: Path, tmp_path: Path
) -> None:
    # Half a minute for a run that takes a second: a busy machine must not finish before the stop.
    recipe = _write_recipe(tmp_path, corpus, encoder=f"{FAKES}:SlowEncoder:seconds=3")
    submitted = head.submit("stopped", recipe, "--no-wait")
    assert submitted.returncode == 0, submitted.stdout
    _wait_for(lambda: _num_commits(tmp_path / "store") >= 1)
    assert head.ray_job("stop", "stopped").returncode == 0
    assert "STOPPED" in head.status("stopped").upper()
    store = Store.open(tmp_path / "store")
    assert store.snapshots() == []
    before = _num_commits(tmp_path / "store")
    recipe = _write_recipe(tmp_path, corpus, encoder=f"{FAKES}:FakeEncoder")
    done = head.submit("resumed", recipe)
    assert done.returncode == 0, done.stdout
    assert "SUCCEEDED" in head.status("resumed").upper()
    log = head.logs("resumed")
    assert "no encoder is named" not in log, "the recipe names one"
    result = json.loads(log[log.index("\n{") : log.rindex("}") + 1])
    assert (result["planned"], result["encoded"], result["quarantined"]) == (41, 40, 1)
    assert _num_commits(tmp_path / "store") > before
    column = store.snapshot().column("latents")
    assert (column.num_encoded, column.num_quarantined, column.num_missing) == (40, 1, 0)
