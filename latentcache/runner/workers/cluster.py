"""Ray: started here for a local run, joined for a cluster run, then given back.

Supported: Ray 2.52 to 2.60; continuous integration runs both ends. Local runs use
``address="local"``, never a cluster that happens to be there.
"""

import contextlib
import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import ray

from latentcache.core.errors import RunError, first_line
from latentcache.runner.messages.calls import ClusterFacts
from latentcache.runner.workers.answering import check_answers, no_cluster
from latentcache.runner.workers.session_folder import free_text
from latentcache.runner.workers.signals import sigterm_as_interrupt

logger = logging.getLogger(__name__)

_OBJECT_STORE_BYTES = 2 * 2**30
"""Enough for the budget of decoded pixels of one machine; Ray's default takes 30 % of memory."""

_MAX_STARTS = 2

_VERSION = re.compile(r"(Ray|Python): (\S+)")


@contextmanager
def connected(address: str, *, num_cpus: int | None = None) -> Iterator[ClusterFacts]:
    """Yield what the cluster has; see ``ray_at`` for which one that is.

    Args:
        address: ``local``, ``auto`` or ``host:port``.
        num_cpus: Cores a local Ray may use; None for all.

    Raises:
        RunError: No cluster answers at ``address``.
    """
    with (
        ray_at(address, num_cpus=num_cpus),
        contextlib.redirect_stdout(_WithoutRaylet(sys.stdout)),
    ):
        yield cluster_facts(is_local=address == "local")


@contextmanager
def ray_at(address: str, *, num_cpus: int | None = None) -> Iterator[None]:
    """Hold a Ray at ``address``: one started or joined here is given back at the end.

    One that this process has started or joined before is used as it is and left running, so
    that many runs of one process may share it.

    Args:
        address: ``local``, ``auto`` or ``host:port``.
        num_cpus: Cores a Ray that is started here may use; None for all.

    Raises:
        RunError: No cluster answers at ``address``.
    """
    if address != "local":
        check_answers(address)
    if ray.is_initialized():
        yield
        return
    _start_or_join(address, num_cpus)
    # ray.init installs a handler of its own, whose SystemExit is lost in Ray's calls.
    with sigterm_as_interrupt():
        try:
            yield
        finally:
            ray.shutdown()


def _start_or_join(address: str, num_cpus: int | None) -> None:
    # Older Rays print a tip about this on every start; no task of ours without a GPU looks for one.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        settings |= {
            "num_cpus": num_cpus,
            "include_dashboard": False,
            "object_store_memory": _local_object_store_bytes(),
            "_node_ip_address": _loopback_address(),
        }
    try:
        _init(address, settings)
    except RunError:
        raise
    except Exception as error:  # noqa: BLE001  Ray has no class of its own for this
        _check_versions(address, str(error))
        why = first_line(error)
        raise (_not_started(why) if address == "local" else no_cluster(address, why)) from None


def _check_versions(address: str, text: str) -> None:
    """Raise if ``text`` is Ray's about two versions; it names the cluster's first, then ours.

    Raises:
        RunError: It is.
    """
    there, here = (
        " and ".join(map(" ".join, _VERSION.findall(part)))
        for part in text.partition("This process")[::2]
    )
    if "ersion mismatch" in text and there and here:
        raise RunError(
            f"address must be a cluster of the same Ray and Python, got {there} at {address}, "
            f"{here} here; install the cluster's versions here, or start "
            "it anew with these"
        ) from None


def _init(address: str, settings: dict[str, Any]) -> None:
    """Start or join Ray; a start that a busy machine delays past Ray's limit is tried twice.

    Raises:
        RunError: It did not start.
    """
    for _ in range(_MAX_STARTS):
        try:
            ray.init(address=address, **settings)
        except Exception as error:
            # Ray raises no class of its own, and its limit of 30 s cannot be set.
            if "timed out during startup" not in str(error):
                raise
            logger.warning("Ray did not start within its 30 s")
            ray.shutdown()
        else:
            return
    raise RunError(
        f"Ray must start within its limit of 30 s, got {_MAX_STARTS} starts that took longer "
        f"(address {address}); run it again when the machine is less busy"
    )


def cluster_facts(*, is_local: bool) -> ClusterFacts:
    """Return what the connected cluster has now."""
    nodes = [node for node in _nodes() if node["Alive"]]
    resources = [node["Resources"] for node in nodes]
    stores = [int(each.get("object_store_memory", 0)) for each in resources]
    return ClusterFacts(
        num_cpus=int(sum(each.get("CPU", 0) for each in resources)),
        num_gpus=int(sum(each.get("GPU", 0) for each in resources)),
        num_nodes=len(nodes),
        object_store_bytes=min((size for size in stores if size), default=_OBJECT_STORE_BYTES),
        is_local=is_local,
    )


def _not_started(why: str) -> RunError:
    return RunError(
        f"Ray must start on this machine, got {why!r} ({free_text()}); make room there or set "
        "RAY_TMPDIR, and look at memory and limits (ulimit -a)"
    )


class _WithoutRaylet(io.TextIOBase):
    """Standard output less what Ray prints there about workers that we end ourselves.

    Ray 2.60 prints raylet errors to stdout whatever ``log_to_driver`` says, and stdout
    belongs to results.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_dropping = False

    def write(self, text: str) -> int:
        """Pass ``text`` on, or to the log if it is the raylet's."""
        if "(raylet)" in text:
            logger.info("%s", text.strip())
            self._is_dropping = not text.endswith("\n")
        elif self._is_dropping and text == "\n":
            self._is_dropping = False
        else:
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream below."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream below is a terminal."""
        return self._stream.isatty()


def _loopback_address() -> str | None:
    """Return an address that keeps a local run off the network, or None where there is none.

    Ray replaces 127.0.0.1 by the machine's address; the rest of 127/8 it leaves alone, and
    only Linux answers there.
    """
    return "127.0.0.2" if sys.platform == "linux" else None


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def _local_object_store_bytes() -> int:
    shm = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None  # noqa: PTH112
    free = shm.f_bavail * shm.f_frsize if shm else _OBJECT_STORE_BYTES
    # Ray refuses less than 75 MiB, and falls back to /tmp when shared memory is short.
    return max(80 * 2**20, min(_OBJECT_STORE_BYTES, int(free * 0.8)))
