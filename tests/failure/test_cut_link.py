"""A cluster whose nodes come, and go silently: their link is cut, and nothing says so."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from latentcache.testing.drawn import write_drawn_corpus
from tests.failure.namespaces import Network, network, why_not
from tests.failure.recovery import check_whole, served
from tests.failure.remote_stages import below

REPOSITORY = Path(__file__).resolve().parents[2]
ENCODER = "latentcache.testing.fakes:SlowEncoder:seconds=0.4"
ENDS_WITHIN_S = 150.0
"""With Ray's own settings a lost answer is waited for five minutes and more."""

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can"),
]


class Nodes:
    """A head on host 0, by ``infra/start_head.sh``, and nodes that join it."""

    def __init__(self, hosts: Network, folder: Path) -> None:
        self._hosts, self._folder = hosts, folder
        self.address = f"{hosts.address(0)}:6380"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "ab" * 16, "HEAD_CPUS": "1"}
        self._environment = {
            **os.environ,
            **token,
            "HEAD_IP": hosts.address(0),
            "PYTHON_BIN": str(Path(sys.executable).parent),
            "PYTHONPATH": str(REPOSITORY),
        }
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._head("start_head.sh")

    def _head(self, script: str) -> None:
        command = self._hosts.command(0, f"{REPOSITORY}/infra/{script}", str(self._folder / "head"))
        subprocess.run(command, env=self._environment, check=True, capture_output=True, timeout=120)

    def join(self, host: int) -> None:
        ray = str(Path(sys.executable).with_name("ray"))
        words = (ray, "start", "--block", "--address", self.address, "--num-cpus", "2")
        words += ("--node-ip-address", self._hosts.address(host))
        self._nodes.append(self.start(host, *words))

    def start(self, host: int, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._hosts.command(host, *words),
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if words[0] == sys.executable else subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self) -> None:
        for node in self._nodes:
            for pid in (node.pid, *below(node.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            node.wait()
        session = (self._folder / "head/session").read_text()
        self._head("stop_head.sh")
        shutil.rmtree(session, ignore_errors=True)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Nodes, Network]]:
    with network(f"lc{os.getpid()}", 3) as hosts:
        made = Nodes(hosts, tmp_path)
        try:
            yield made, hosts
        finally:
            made.end()


def test_a_node_whose_link_is_cut_costs_its_units_and_one_that_joins_is_used(
    nodes: tuple[Nodes, Network], tmp_path: Path
) -> None:
    ray, hosts = nodes
    write_drawn_corpus(tmp_path / "corpus", 60, seed=1, size_px=64, num_broken=1)
    options = ["--encoder", ENCODER, "--resolution", "64", "--rows-per-shard", "8"]
    options += ["--max-quarantine", "50%", "--actors", "3"]
    build = [sys.executable, "-m", "latentcache", "build", str(tmp_path / "corpus")]
    subprocess.run([*build, str(tmp_path / "undisturbed"), *options], check=True)

    ray.join(1)
    store = tmp_path / "store"
    there = ["--address", ray.address, "--set", "resources.without_ray=0"]
    run = ray.start(0, *build, str(store), *options, *there)
    while not list(store.glob("encodings/*/*/commits/*")) and run.poll() is None:
        time.sleep(0.1)
    assert run.poll() is None, "it ended before a link could be cut"
    hosts.cut(1)
    ray.join(2)
    said = run.communicate(timeout=ENDS_WITHIN_S)[1].decode()
    assert run.returncode == 0, said
    assert "Traceback" not in said
    check_whole(store)
    assert served(store) == served(tmp_path / "undisturbed")
