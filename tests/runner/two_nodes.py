"""A Ray cluster of two nodes on this machine: prints its address; a line on stdin kills the second.

A process of its own: Ray keeps the token of the first cluster that a process has met.
"""

import sys

from ray.cluster_utils import Cluster

_STORE_BYTES = 200 * 2**20


def main() -> None:
    """Serve until stdin ends."""
    head = {"num_cpus": 1, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        # The head has room for one decode task at a time: this node has work to lose.
        other = cluster.add_node(num_cpus=2, object_store_memory=_STORE_BYTES)
        cluster.wait_for_nodes()
        print(f"address {cluster.address}", flush=True)
        if sys.stdin.readline():
            cluster.remove_node(other, allow_graceful=False)
            sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
