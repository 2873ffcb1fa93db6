"""Joining a cluster that is not there is one sentence within seconds."""

import socket
import subprocess
import sys

import pytest
import ray

from latentcache.core.errors import RunError
from latentcache.runner.workers.cluster import ClusterFacts, connected


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        pytest.raises(RunError, match=f"got '127.0.0.1:{port}' .*refused"),
        connected(f"127.0.0.1:{port}"),
    ):
        pytest.fail("there is no cluster")


def test_a_start_that_takes_too_long_is_tried_again_and_then_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts = []

    def slow_start(**settings: object) -> None:
        starts.append(settings)
        raise Exception("The current node timed out during startup.")

    # A machine this busy cannot be had at will.
    monkeypatch.setattr(ray, "init", slow_start)
    with pytest.raises(RunError, match=r"within its limit of 30 s.*less busy"), connected("local"):
        pytest.fail("there is no cluster")
    assert len(starts) == 2


@pytest.mark.ray
@pytest.mark.slow
def test_a_ray_that_runs_is_shared_and_one_of_ours_is_ended() -> None:
    program = (
        "import ray\n"
        "from latentcache.runner.workers.cluster import connected\n"
        "with connected('local', num_cpus=1) as outer:\n"
        "    with connected('local', num_cpus=3) as inner:\n"
        "        assert inner == outer, (inner, outer)\n"
        "    assert ray.is_initialized(), 'a run ended a Ray that it had not started'\n"
        "assert not ray.is_initialized(), 'a Ray was left behind'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_the_window_is_shared_by_the_actors_of_a_node() -> None:
    facts = ClusterFacts(
        num_cpus=8, num_gpus=4, num_nodes=2, object_store_bytes=1000, is_local=False
    )
    assert facts.budget_bytes(4) == 150
    assert facts.budget_bytes(1) == 300
