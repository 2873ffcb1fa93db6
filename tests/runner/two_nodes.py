"""A Ray cluster of two nodes on this machine: prints its address; a line on stdin kills the second.

A process of its own: Ray keeps the token of the first cluster that a process has met.
"""

import sys
from typing import Any

import ray
from ray.cluster_utils import Cluster

_STORE_BYTES = 200 * 2**20
_MAX_TRIES = 20


def _drivers_join_the_head(cluster: Cluster) -> bool:
    """Whether a driver is with the head; nodes share an address here, and Ray 2.52 takes either.

    One cluster answers the same each time that it is asked.
    """
    ray.init(cluster.address, log_to_driver=False)
    try:
        return bool(ray.get_runtime_context().get_node_id() == cluster.head_node.node_id)
    finally:
        ray.shutdown()


def _start() -> tuple[Cluster, Any]:
    """Return a cluster and its second node, which no driver is with: it may be lost."""
    head = {"num_cpus": 1, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    for _ in range(_MAX_TRIES):
        cluster = Cluster(initialize_head=True, head_node_args=head)
        # The head has room for one decode task at a time: this node has work to lose.
        other = cluster.add_node(num_cpus=2, object_store_memory=_STORE_BYTES)
        cluster.wait_for_nodes()
        if _drivers_join_the_head(cluster):
            return cluster, other
        cluster.shutdown()
    raise RuntimeError(f"drivers join the second node in {_MAX_TRIES} clusters of as many")


def main() -> None:
    """Serve until stdin ends."""
    cluster, other = _start()
    try:
        print(f"address {cluster.address}", flush=True)
        if sys.stdin.readline():
            cluster.remove_node(other, allow_graceful=False)
            sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
