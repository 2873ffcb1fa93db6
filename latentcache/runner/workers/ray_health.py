"""Whether the Ray that a run hangs on is still there: the head, and the raylet of this process.

Without its head a driver of Ray waits for 60 s and is then ended from C++, without a word of ours;
without its raylet each call raises something else. What runs on other nodes is no business of this
file: a call that is lost with its node is made again.
"""

import re
import socket
import time
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

from latentcache.core.errors import RunError

_LOOK_EVERY_S = 2.0
_CONNECT_S = 2.0
_HEAD_MAY_BE_AWAY_S = 30.0
"""A head that keeps its state elsewhere may come back; Ray ends the process after 60 s."""

_NODE_LOSS = re.compile(
    r"\bnode (has )?(died|crashed)|\bnode was (terminated|drained)", re.IGNORECASE
)


class RayLostError(RunError):
    """The head, or the raylet of this process, is gone."""


def is_node_loss(error: RayError) -> bool:
    """Whether an actor was lost with its node; Ray tells that of actors in words only."""
    is_of_actor = isinstance(error, ActorDiedError | ActorUnavailableError)
    return is_of_actor and _NODE_LOSS.search(str(error)) is not None


class RayHealth:
    """Looks whether the connected Ray answers."""

    def __init__(self, *, is_local: bool) -> None:
        """Take note of where head and raylet are.

        Args:
            is_local: Started by this process, so that nobody starts a lost part again.
        """
        context = ray.get_runtime_context()
        host, _, port = context.gcs_address.rpartition(":")
        self._head = (host, int(port))
        self._is_local = is_local
        self._raylet = _raylet_socket(context.get_node_id())
        self._looked_s = self._seen_s = time.monotonic()

    def check(self, *, is_suspect: bool = False) -> None:
        """Return if Ray answers, or may do so again; costs nothing if asked often.

        Args:
            is_suspect: Something was lost: look now, and at the raylet too.

        Raises:
            RayLostError: It is gone.
        """
        now_s = time.monotonic()
        if not is_suspect and now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        why, is_certain = _silence(socket.AF_INET, self._head)
        if not why:
            self._seen_s = now_s
            if is_suspect and self._raylet:
                self._check_raylet()
        elif (self._is_local and is_certain) or now_s - self._seen_s > _HEAD_MAY_BE_AWAY_S:
            raise self._lost(f"the head at {self._head[0]}:{self._head[1]}", why)

    def _check_raylet(self) -> None:
        # Whoever connects to a raylet and says nothing leaves a line in its log. One that is busy
        # does not take connections at once; what is gone refuses them.
        why, is_certain = _silence(socket.AF_UNIX, self._raylet)
        if is_certain:
            raise self._lost("the raylet of this process", why)

    def _lost(self, what: str, why: str) -> RayLostError:
        how = (
            "look at this machine's memory (dmesg), and run the same command again"
            if self._is_local
            else "look at its logs and memory, start the cluster again if it is gone, and run the "
            "same command again"
        )
        return RayLostError(
            f"Ray must live as long as the run, got no answer from {what} ({why}); what was shown "
            f"as done is kept: {how}"
        )


def _raylet_socket(node_id: str) -> str:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    found = (each.get("RayletSocketName", "") for each in nodes if each["NodeID"] == node_id)
    return str(next(found, ""))


def _silence(family: socket.AddressFamily, address: Any) -> tuple[str, bool]:
    """Return why nothing answers at ``address``, or '', and whether nobody can be there."""
    with socket.socket(family) as client:
        client.settimeout(_CONNECT_S)
        try:
            client.connect(address)
        except OSError as error:
            is_certain = isinstance(error, ConnectionRefusedError | FileNotFoundError)
            return (error.strerror or str(error)).lower(), is_certain
    return "", False
