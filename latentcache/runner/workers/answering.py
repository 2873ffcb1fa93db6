"""Whether anything listens at a cluster's address; asked before Ray is imported."""

import os
import socket

from latentcache.core.errors import RunError

_CONNECT_TIMEOUT_S = 10.0


def check_answers(address: str) -> None:
    """Refuse a ``host:port`` where nothing listens: Ray would wait for minutes.

    Raises:
        RunError: Nothing listens there.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "") or address
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit() or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise no_cluster(address, (error.strerror or str(error)).lower()) from None


def no_cluster(address: str, why: str) -> RunError:
    """Return the sentence for a cluster that cannot be joined."""
    return RunError(
        f"address must be a running Ray cluster, got {address!r} ({why}); "
        "start one with infra/start_head.sh, or use --address local"
    )
