"""Corpora behind fsspec are listed and read as local ones are."""

import io
import secrets
from collections.abc import Iterator

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latentcache.core.errors import ConfigError
from latentcache.core.media import MediaInfo
from latentcache.plan import (
    ScannedMedia,
    open_corpus,
    peek_source,
    read_captions,
    read_sources,
)
from latentcache.storage import Folder
from tests.plan.conftest import listed, paths, tar_bytes


@pytest.fixture
def remote() -> Iterator[Folder]:
    folder = Folder.open(f"memory://{secrets.token_hex(8)}")
    yield folder
    fsspec.filesystem("memory").rm("/" + folder.url.removeprefix("memory://"), recursive=True)


def check_folder(root: Folder) -> None:
    for name, data in {"a/x.jpg": b"12", "a/x.txt": b"cap", "é.png": b"3", ".h.jpg": b"4"}.items():
        root.write(name, data)
    media, listing = listed(root.url)
    assert sorted(paths(media)) == ["a/x.jpg", "é.png"]
    assert all(each.version for each in media)
    assert not listing.totals.ignored
    info = MediaInfo(width_px=1, height_px=1, format="", mode="")
    scanned = read_captions(root, [ScannedMedia.of(each, info) for each in media])
    media = [each.media.listed for each in scanned]
    captions = {each.source.path: each.annotations.get("caption") for each in media}
    assert captions == {"a/x.jpg": "cap", "é.png": None}
    sources = sorted((each.source for each in media), key=lambda source: source.path)
    assert read_sources(root, sources) == [b"12", b"3"]
    with peek_source(root, sources[0]) as (file, size_bytes):
        assert (file.read(1), file.read(), size_bytes) == (b"1", b"2", 2)


def check_tar(root: Folder) -> None:
    root.write("t/a.tar", tar_bytes([("x.jpg", b"12"), ("x.txt", b"cap"), ("y.png", b"3")]))
    url = f"{root.url}/t"
    assert open_corpus(url).kind == "webdataset"
    for media, _ in (listed(url), listed(f"{url}/a.tar")):
        assert paths(media) == ["a.tar!x.jpg", "a.tar!y.png"]
        sources = [each.source for each in media]
        assert read_sources(Folder.open(url), sources) == [b"12", b"3"]


def check_manifests(root: Folder) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": [b"12", b"3"], "label": [4, 5]}), buffer)
    root.write("m/a.parquet", buffer.getvalue())
    root.write("m/b.jsonl", b'{"path": "p/c.jpg"}\n{"path": "' + root.url.encode() + b'/d.jpg"}')
    root.write("m/p/c.jpg", b"c")
    root.write("d.jpg", b"d")
    media, _ = listed(f"{root.url}/m", "manifest")
    assert paths(media) == ["a.parquet!0", "a.parquet!1", "p/c.jpg", f"{root.url}/d.jpg"]
    found = read_sources(Folder.open(f"{root.url}/m"), [each.source for each in media])
    assert found == [b"12", b"3", b"c", b"d"]


CHECKS = [check_folder, check_tar, check_manifests]


@pytest.mark.parametrize("check", CHECKS)
def test_any_fsspec_url_is_a_corpus(remote: Folder, check: object) -> None:
    assert callable(check)
    check(remote)


@pytest.mark.s3
@pytest.mark.parametrize("check", CHECKS)
def test_object_store_is_a_corpus(s3_url: str, check: object) -> None:
    assert callable(check)
    check(Folder.open(f"{s3_url}/corpus"))


@pytest.mark.s3
def test_bucket_that_is_missing_is_refused_in_a_sentence(s3_url: str) -> None:
    with pytest.raises(ConfigError, match="got an empty or missing folder"):
        open_corpus(s3_url + "-not-there/corpus")


def test_missing_remote_folder_is_refused_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match="got an empty or missing folder"):
        open_corpus("memory://there-is-no-such-folder")
