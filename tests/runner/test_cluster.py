"""Joining a cluster that is not there is one sentence within seconds."""

import socket

import pytest

from latentcache.core.errors import RunError
from latentcache.runner.cluster import ClusterFacts, connected


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        pytest.raises(RunError, match=f"got '127.0.0.1:{port}' .*refused"),
        connected(f"127.0.0.1:{port}"),
    ):
        pytest.fail("there is no cluster")


def test_the_window_is_shared_by_the_actors_of_a_node() -> None:
    facts = ClusterFacts(
        num_cpus=8, num_gpus=4, num_nodes=2, object_store_bytes=1000, is_local=False
    )
    assert facts.window_bytes(4) == 150
    assert facts.window_bytes(1) == 300
