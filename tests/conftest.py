"""Fixtures that every package's tests may use."""

import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.law_examples import examples

# Laws are checked on busy machines too: time limits belong to whole runs.
settings.register_profile("latentcache", examples(100))
settings.load_profile("latentcache")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos, clips, nasty files and weights that are not part of the repository."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared test data is not on this machine")
    return folder


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One Ray for a module's runs in this process: starting one takes longer than most of them.

    Ended with the module, because other tests start Rays with what they need.
    """
    from latentcache.runner.workers.cluster import ray_at  # noqa: PLC0415  takes a second

    with ray_at("local"):
        yield


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """The endpoint of a real S3 server on loopback; a mock of S3's behaviour, not of HTTP."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("moto did not start") from None
                threading.Event().wait(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.fixture
def s3_url(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket, with endpoint and keys in the environment."""
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    settings = {
        "AWS_ENDPOINT_URL": moto_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    import s3fs  # noqa: PLC0415  takes a second, and most tests do without

    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    return f"s3://{bucket}"
