"""Hosts of a network, each a namespace of this machine: their links can be cut.

Needs root and ``ip`` of iproute2. Everything lies in namespaces of its own, and nothing in the
machine's own one.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """Hosts ``0`` to ``N - 1`` on one switch."""

    name: str
    num_hosts: int

    def address(self, host: int) -> str:
        """Return a host's IP address."""
        return f"10.99.0.{10 + host}"

    def command(self, host: int, *words: str) -> list[str]:
        """Return a command line that runs ``words`` on a host."""
        return ["ip", "netns", "exec", self._namespace(host), *words]

    def cut(self, host: int) -> None:
        """Cut a host's link; what was said stays unanswered."""
        _ip("-n", self._namespace(host), "link", "set", "up0", "down")

    def _namespace(self, host: int) -> str:
        return f"{self.name}-{host}"

    def _make(self) -> None:
        switch = f"{self.name}-switch"
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge0", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge0", "up")
        for host in range(self.num_hosts):
            inside = self._namespace(host)
            _ip("netns", "add", inside)
            peer = ("peer", "name", f"port{host}", "netns", switch)
            _ip("-n", inside, "link", "add", "up0", "type", "veth", *peer)
            _ip("-n", switch, "link", "set", f"port{host}", "master", "bridge0", "up")
            _ip("-n", inside, "addr", "add", f"{self.address(host)}/24", "dev", "up0")
            _ip("-n", inside, "link", "set", "up0", "up")
            _ip("-n", inside, "link", "set", "lo", "up")

    def _delete(self) -> None:
        for name in (*map(self._namespace, range(self.num_hosts)), f"{self.name}-switch"):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def why_not() -> str:
    """Return why this machine cannot make namespaces; "" if it can."""
    if shutil.which("ip") is None:
        return "needs ip of iproute2"
    try:
        with network("lc-probe", 1):
            return ""
    except subprocess.CalledProcessError as error:
        return f"needs network namespaces: {error.stderr.decode().strip()}"


@contextmanager
def network(name: str, num_hosts: int) -> Iterator[Network]:
    """Yield a network, and delete it afterwards.

    Raises:
        subprocess.CalledProcessError: This user may not.
    """
    made = Network(name, num_hosts)
    try:
        made._make()
        yield made
    finally:
        made._delete()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
