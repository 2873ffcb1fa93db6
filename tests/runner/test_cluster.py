"""Joining a cluster that is not there is one sentence within seconds."""

import platform
import socket
import subprocess
import sys

import pytest
import ray
from ray._private.utils import check_version_info

from latentcache.core.errors import RunError
from latentcache.runner.workers.cluster import ClusterFacts, connected
from latentcache.runner.workers.ray_workers import RayCalls


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


def test_a_cluster_of_another_version_is_named_with_both(monkeypatch: pytest.MonkeyPatch) -> None:
    def join(**settings: object) -> None:  # what Ray does once it has asked a cluster
        cluster = {"ray_version": "2.1.0", "python_version": platform.python_version()}
        check_version_info(cluster, "node 127.0.0.1")

    monkeypatch.setattr(ray, "init", join)
    with (
        pytest.raises(RunError, match=rf"got Ray 2.1.0 and .*, Ray {ray.__version__} and .* here"),
        connected("local"),
    ):
        pytest.fail("there is no such cluster")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_what_a_node_cannot_import_is_named() -> None:
    class Importing:
        def __init__(self) -> None:
            import nothing_of_this_name  # noqa: F401, PLC0415

        def load(self) -> None: ...

    def importing(_: object) -> None:
        import nothing_of_this_name  # noqa: F401, PLC0415

    calls = RayCalls()
    actor = ray.remote(Importing).remote()
    for ref in (actor.load.remote(), calls.submit(importing, None)):
        with pytest.raises(RunError, match=r"got ModuleNotFoundError: .*of_this_name' on node \d"):
            calls.get(ref)


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
