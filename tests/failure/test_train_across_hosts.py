"""Two hosts train by torchrun from a store in a bucket of a third: what one host would, in order.

Hosts are network namespaces of this machine; nothing but the network joins them, and the folder
for checkpoints.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from latentcache.testing.drawn import write_drawn_corpus
from tests.failure.namespaces import Network, network, why_not
from tests.s3_servers import without_aws

REPOSITORY = Path(__file__).resolve().parents[2]
STORE = "s3://trained/store"
NUM_STEPS = 6
RECIPE = """
store = "{store}"
out = "{out}"
device = "cpu"
[dit]
width = 16
depth = 1
num_heads = 2
[batches]
global_batch_size = 4
seed = 3
[train]
num_steps = {num_steps}
[output]
num_samples = 1
log_samples = true
"""
_WITHIN_S = 120.0

pytestmark = [
    pytest.mark.s3,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can"),
]


class Hosts:
    """Commands on hosts of a network, the first of which has a server of S3."""

    def __init__(self, hosts: Network) -> None:
        self._hosts = hosts
        endpoint = f"http://{hosts.address(0)}:5000"
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret"}
        self._environment = {
            **without_aws(),
            **keys,
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "up0",  # the machine's own name means none of these hosts
        }
        self.server = self.start(0, "-m", "moto.server", "-H", hosts.address(0), "-p", "5000")

    def start(self, host: int, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._hosts.command(host, sys.executable, *words),
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if "moto.server" not in words else subprocess.DEVNULL,
        )

    def run(self, host: int, *words: str) -> None:
        wait(self.start(host, *words))

    def make_bucket(self) -> None:
        program = "import s3fs; s3fs.S3FileSystem().mkdir('trained')"
        ends_s = time.monotonic() + _WITHIN_S
        while True:
            try:
                self.run(0, "-c", program)
                return
            except AssertionError:
                if time.monotonic() > ends_s or self.server.poll() is not None:
                    raise
                time.sleep(0.5)


def wait(process: "subprocess.Popen[bytes]") -> None:
    said = process.communicate(timeout=_WITHIN_S)[1].decode()
    assert process.returncode == 0, said


@pytest.fixture
def hosts() -> Iterator[tuple[Hosts, Network]]:
    with network(f"lt{os.getpid()}", 3) as made:
        found = Hosts(made)
        try:
            yield found, made
        finally:
            found.server.terminate()
            found.server.wait(timeout=20)


def recipe(folder: Path) -> str:
    folder.mkdir()
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(store=STORE, out=folder / "out", num_steps=NUM_STEPS))
    return str(path)


def trained_keys(folder: Path) -> set[tuple[int, str]]:
    lines = (folder / "out/sample_losses.jsonl").read_text().splitlines()
    return {(one["step"], one["key"]) for one in map(json.loads, lines)}


def test_two_hosts_train_what_one_would_from_a_bucket(
    hosts: tuple[Hosts, Network], tmp_path: Path
) -> None:
    on, net = hosts
    write_drawn_corpus(tmp_path / "corpus", 24, seed=1, size_px=64)
    on.make_bucket()
    latentcache = ("-m", "latentcache")
    options = ("--encoder", "dct", "--resolution", "64")
    on.run(0, *latentcache, "build", str(tmp_path / "corpus"), STORE, *options)
    on.run(0, *latentcache, "train", recipe(tmp_path / "one"))

    together = recipe(tmp_path / "two")
    master = ("--master-addr", net.address(1), "--master-port", "29500")
    ranks = []
    for rank in range(2):
        torchrun = ("-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(rank))
        words = (*torchrun, *master, "--nproc-per-node", "1", *latentcache, "train", together)
        ranks.append(on.start(rank + 1, *words))
    for each in ranks:
        wait(each)
    found = trained_keys(tmp_path / "two")
    assert len(found) == NUM_STEPS * 4
    assert found == trained_keys(tmp_path / "one")
