"""Fixtures that every package's tests may use."""

import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.law_examples import examples
from tests.s3_servers import S3Server, moto, swift, why_no_swift

# Laws are checked on busy machines too: time limits belong to whole runs.
settings.register_profile("latentcache", examples(100))
settings.load_profile("latentcache")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first: small ones are left for the end, and fill both workers."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos, clips, nasty files and weights that are not part of the repository."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared test data is not on this machine")
    return folder


_INHERITED = ("AWS_", "HF_", "HOME", "LATENTCACHE_", "OMP_", "PATH", "PYTHON", "TMPDIR")
"""Variables that decide what a worker does, by how their names begin."""


def _surroundings() -> tuple[dict[str, str], str, list[str]]:
    """Return what a worker process takes over from this one."""
    inherited = {name: value for name, value in os.environ.items() if name.startswith(_INHERITED)}
    return inherited, str(Path.cwd()), list(sys.path)


@pytest.fixture(scope="session", autouse=True)
def _templates_that_stay() -> Iterator[None]:
    """Fork the workers of small runs from templates that outlive a run.

    A template only imports, which takes seconds, and forks: whose run a child belongs to is
    nothing to it. A test that changes what workers take over has one of its own.
    """
    from latentcache.runner.workers import local_workers  # noqa: PLC0415  a second, seldom needed

    at_start = _surroundings()
    real: Any = local_workers._Template
    kept: dict[tuple[tuple[str, ...], ...], Any] = {}

    def template(modules: Sequence[str], encoders: Sequence[str] = ()) -> Any:
        if _surroundings() != at_start:
            return real(modules, encoders)
        names = sorted({encoder.partition(":")[0] for encoder in encoders})
        key = (tuple(modules), tuple(names))
        found = kept.get(key)
        if found is None or found._process.poll() is not None:
            found = kept[key] = real(modules, encoders)
            found.close = lambda: None
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_workers, "_Template", template)
        yield
        for one in kept.values():
            real.close(one)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One Ray for a module's runs in this process: starting one takes longer than most of them.

    Ended with the module, because other tests start Rays with what they need.
    """
    from latentcache.runner.workers.cluster import ray_at  # noqa: PLC0415  takes a second

    with ray_at("local"):
        yield


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A real S3 server on loopback: moto, or with S3_SERVER=swift OpenStack Swift."""
    if os.environ.get("S3_SERVER") != "swift":
        with moto() as server:
            yield server
        return
    if why := why_no_swift():
        pytest.skip(why)
    with swift() as server:
        yield server


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket, with endpoint and keys in the environment."""
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    import s3fs  # noqa: PLC0415  takes a second, and most tests do without

    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    return f"s3://{bucket}"
