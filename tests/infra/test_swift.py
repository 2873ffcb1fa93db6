"""A store in OpenStack Swift, which checks signatures: built, read, trained from, and verified."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from latentcache import LatentLoader, LoaderOptions, open_store
from latentcache.cli.entry import run
from latentcache.testing.drawn import write_drawn_corpus
from tests.s3_servers import S3Server, swift, why_no_swift

pytestmark = [
    pytest.mark.s3,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_no_swift()), reason=why_no_swift()),
]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with swift() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    import s3fs  # noqa: PLC0415  takes a second

    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir("swift-bucket")
    return "s3://swift-bucket"


def test_a_store_in_swift_is_built_verified_and_loaded_and_wrong_keys_are_refused(
    bucket: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_drawn_corpus(tmp_path / "photos", 12, seed=1, size_px=64)
    options = ["--resolution", "64", "--actors", "1"]
    for store in (f"{bucket}/store", str(tmp_path / "store")):
        assert run(["build", str(tmp_path / "photos"), store, *options]) == 0
    assert run(["verify", f"{bucket}/store"]) == 0
    views = [
        open_store(store).snapshot().column("latents")
        for store in (f"{bucket}/store", tmp_path / "store")
    ]
    remote, local = ([each.tar and each.tar.sha256 for each in view.units()] for view in views)
    assert remote == local
    loader = LatentLoader(
        f"{bucket}/store", global_batch_size=2, options=LoaderOptions(cache=tmp_path / "cache")
    )
    assert next(iter(loader)) is not None
    capsys.readouterr()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    assert run(["build", str(tmp_path / "photos"), f"{bucket}/other", *options]) == 1
    told = capsys.readouterr().err
    assert "storage must know who asks, got SignatureDoesNotMatch" in told
    assert "AWS_SECRET_ACCESS_KEY" in told
    assert "Traceback" not in told
