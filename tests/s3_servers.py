"""Real S3 servers on loopback, and the proxy before them that makes them fail."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PROXY = REPOSITORY / "infra" / "object_stores" / "fault_proxy.py"
SWIFT = REPOSITORY / "infra" / "object_stores" / "swift.sh"
_STARTS_WITHIN_S = 60.0


@dataclass(frozen=True)
class S3Server:
    """One that runs.

    Attributes:
        endpoint: Its URL.
        key: Of somebody who may do everything.
        secret: Of the key.
        one_wins: Of several that create an object at once, exactly one does.
        checks_keys: A wrong secret is refused.
    """

    endpoint: str
    key: str
    secret: str
    one_wins: bool
    checks_keys: bool

    def environment(self) -> dict[str, str]:
        """Return the variables by which every client of S3 finds it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def why_no_swift() -> str:
    """Return why Swift cannot be started here, or ""."""
    folder = os.environ.get("SWIFT_BIN", "")
    if not folder:
        return "SWIFT_BIN names no folder with Swift; see infra/object_stores/swift.sh"
    if shutil.which("swift-proxy-server", path=folder) is None:
        return f"{folder} (SWIFT_BIN) has no swift-proxy-server"
    return "" if shutil.which("memcached") else "memcached is not installed"


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _process(command: list[str], port: int) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        ends_s = time.monotonic() + _STARTS_WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > ends_s:
                    raise RuntimeError(f"{command[1:3]} did not start") from None
                time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait(timeout=20)


@contextmanager
def moto() -> Iterator[S3Server]:
    """Yield a moto server: S3's conditions to the letter, and any secret will do."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _process(command, port):
        endpoint = f"http://127.0.0.1:{port}"
        yield S3Server(endpoint, "testing", "testing-secret", one_wins=True, checks_keys=False)


@contextmanager
def swift() -> Iterator[S3Server]:
    """Yield OpenStack Swift: it checks signatures, and lets two win a race at times."""
    with tempfile.TemporaryDirectory(prefix="swift-", ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, "SWIFT_PORT": str(_free_ports(5))}
        subprocess.run(
            [SWIFT, "start", folder], check=True, env=environment, stdout=subprocess.DEVNULL
        )
        try:
            endpoint = f"http://127.0.0.1:{environment['SWIFT_PORT']}"
            yield S3Server(endpoint, "test:tester", "testing", one_wins=False, checks_keys=True)
        finally:
            subprocess.run([SWIFT, "stop", folder], check=True)


def _free_ports(count: int) -> int:
    """Return the first of ``count`` ports in a row, below those that are given out at random."""
    for first in range(20_000, 30_000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no ports are free")


@contextmanager
def failing(endpoint: str) -> Iterator[str]:
    """Yield the endpoint of a proxy before ``endpoint``; nothing fails until it is told to."""
    port = free_port()
    upstream = endpoint.removeprefix("http://")
    with _process([sys.executable, str(PROXY), f"127.0.0.1:{port}", upstream], port):
        yield f"http://127.0.0.1:{port}"


def set_faults(proxy: str, kinds: list[str], rate: float) -> None:
    """Tell a proxy what fails."""
    rules = json.dumps({"kinds": kinds, "rate": rate}).encode()
    asked = urllib.request.Request(f"{proxy}/__fault", data=rules, method="PUT")
    urllib.request.urlopen(asked, timeout=20).close()


def num_faults(proxy: str) -> dict[str, int]:
    """Return what has failed so far, by kind."""
    with urllib.request.urlopen(f"{proxy}/__fault", timeout=20) as answer:
        found: dict[str, int] = json.loads(answer.read())["faults"]
    return found


def without_aws() -> dict[str, str]:
    """Return this process's environment without anything of AWS."""
    here = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**here, "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1"}
