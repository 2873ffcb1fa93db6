"""A folder on a local disk: durable, atomic, and never outside itself."""

import functools
import http.server
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.storage import Folder, RetryPolicy, StorageError
from latentcache.storage.opened import opened_backend


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path / "place")


def names(folder: Folder, prefix: str = "", **options: bool) -> list[str]:
    return sorted(info.name for info in folder.list(prefix, **options))


def test_what_is_written_is_read_back_whole_and_in_part(folder: Folder) -> None:
    folder.write("a/b/c.bin", b"0123456789")
    assert folder.read("a/b/c.bin") == b"0123456789"
    assert folder.read("a/b/c.bin", start=3) == b"3456789"
    assert folder.read("a/b/c.bin", start=3, end=5) == b"34"
    assert folder.read("a/b/c.bin", end=2) == b"01"
    assert folder.read("a/b/c.bin", start=5, end=5) == b""
    with folder.open_read("a/b/c.bin") as file:
        file.seek(8)
        assert file.read() == b"89"


def test_a_missing_object_is_told_from_an_empty_one(folder: Folder) -> None:
    folder.write("empty", b"")
    assert folder.read("empty") == b""
    assert folder.stat("empty").size_bytes == 0
    assert folder.stat("absent") is None
    assert folder.stat("empty/absent") is None
    with pytest.raises(FileNotFoundError):
        folder.read("absent")


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "", "a//b", "./a", "a/..", "a/", "a\0b"]
)
def test_no_name_leaves_the_folder(folder: Folder, name: str) -> None:
    operations = [
        lambda: folder.read(name),
        lambda: folder.write(name, b""),
        lambda: folder.stat(name),
        lambda: folder.delete([name]),
        lambda: folder.create_if_absent(name, b"w", write_id="w"),
        lambda: folder.upload(name, Path("x")),
        lambda: folder.open_read(name),
        lambda: folder.child(name),
    ]
    for operation in operations:
        with pytest.raises(ValueError, match="must be relative and stay inside"):
            operation()


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40))
def test_any_unicode_name_survives_or_is_refused(tmp_path_factory, name: str) -> None:
    folder = Folder.open(tmp_path_factory.mktemp("unicode"))
    if name in (".", "..") or len(name.encode()) > 255:
        return
    folder.write(name, b"x")
    assert folder.read(name) == b"x"
    if not name.startswith(".tmp."):
        assert names(folder) == [name]


def test_listings_see_everything_but_what_interrupted_writes_left(folder: Folder) -> None:
    for name in ("b", "a/1", "a/2", "a/deep/3"):
        folder.write(name, b"x")
    (folder.local_path("a") / ".tmp.0123").write_bytes(b"half")
    assert names(folder) == ["a/1", "a/2", "a/deep/3", "b"]
    assert names(folder, "a") == ["a/1", "a/2", "a/deep/3"]
    assert names(folder, "nowhere") == []
    assert "a/.tmp.0123" in names(folder, with_temporary=True)
    assert list(folder.list_folders()) == ["a"]
    assert list(folder.list_folders("a")) == ["deep"]
    assert list(folder.list_folders("nowhere")) == []


def test_listings_survive_loops_of_links_and_broken_links(folder: Folder, tmp_path: Path) -> None:
    folder.write("real/photo.jpg", b"x")
    root = folder.local_path()
    (root / "real" / "up").symlink_to(root)
    (root / "again").symlink_to(root / "real")
    (root / "self").symlink_to(root / "self")
    (root / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "other.jpg").write_bytes(b"yy")
    (root / "linked").symlink_to(outside)
    os.mkfifo(root / "pipe")
    found = {info.name: info for info in folder.list()}
    assert set(found) == {"real/photo.jpg", "linked/other.jpg", "broken.jpg", "self"}
    assert found["broken.jpg"].size_bytes == -1


def test_an_upload_links_where_it_can_and_leaves_its_source(folder: Folder, tmp_path: Path) -> None:
    source = tmp_path / "scratch.tar"
    source.write_bytes(b"tar")
    folder.upload("shards/x.tar", source)
    assert folder.read("shards/x.tar") == b"tar"
    assert folder.local_path("shards/x.tar").samefile(source)
    folder.upload("shards/x.tar", source)
    assert names(folder, with_temporary=True) == ["shards/x.tar"]


def test_an_upload_without_links_copies(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    source = tmp_path / "scratch.tar"
    source.write_bytes(b"tar")
    monkeypatch.setattr(os, "link", refuse)
    folder.upload("shards/x.tar", source)
    assert folder.read("shards/x.tar") == b"tar"
    assert not folder.local_path("shards/x.tar").samefile(source)


def test_a_folder_travels_to_another_process(folder: Folder) -> None:
    folder.write("x", b"1")
    assert pickle.loads(pickle.dumps(folder)).read("x") == b"1"


def test_relative_paths_stay_where_they_were_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Folder.open("here")
    folder.write("x", b"1")
    monkeypatch.chdir("/")
    assert folder.read("x") == b"1"
    assert Folder.open(f"file://{tmp_path}/here").read("x") == b"1"


def test_secrets_of_a_url_are_never_shown() -> None:
    folder = Folder("ftp://me:hunter2@host/place?token=hunter3")
    assert "hunter" not in repr(folder)
    assert "hunter" not in folder.label
    assert folder.child("x").url.endswith("/x")


def test_an_unknown_protocol_and_an_empty_url_are_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match="must have a protocol that fsspec knows, got 'nosuch'"):
        Folder.open("nosuch://bucket/x")
    with pytest.raises(ConfigError, match="must be a path or an fsspec URL"):
        Folder.open("")


def test_a_read_only_destination_is_one_sentence(folder: Folder) -> None:
    root = folder.local_path()
    root.mkdir(parents=True)
    (root / "file").write_bytes(b"")
    # Permissions do not bind the superuser, a file in the way binds everybody.
    with pytest.raises(StorageError, match=r"destination must be a folder, got .* choose another"):
        folder.write("file/x", b"1")
    if os.geteuid():
        root.chmod(0o500)
        with pytest.raises(StorageError, match="destination must be writable"):
            folder.write("x", b"1")
        root.chmod(0o700)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    from latentcache.storage import storage_errors as errors  # noqa: PLC0415

    with (
        pytest.raises(OSError, match="No space left") as caught,
        Path("/dev/full").open("wb", 0) as f,
    ):
        f.write(b"x")
    error = errors.write_failure(caught.value, where=str(tmp_path))
    assert isinstance(error, StorageError)
    assert "destination must have room" in str(error)
    assert "[Errno" not in str(error)


def test_no_try_begins_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    from latentcache.storage.retry import with_retries  # noqa: PLC0415

    now_s, tries = [0.0], []

    def slow() -> str:
        tries.append(now_s[0])
        now_s[0] += 50.0
        raise TimeoutError("late")

    quick = {"sleep": lambda _: None, "clock": lambda: now_s[0]}
    for policy, expected in (
        (RetryPolicy(attempts=9, deadline_s=60.0, **quick), 2),
        (RetryPolicy(attempts=9, **quick), 3),
    ):
        tries.clear()
        with pytest.raises(TimeoutError):
            with_retries(slow, policy=policy, what="x")
        assert len(tries) == expected
    for wrong in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("LATENTCACHE_STORAGE_DEADLINE_S", wrong)
        with pytest.raises(ConfigError, match="LATENTCACHE_STORAGE_DEADLINE_S must be seconds"):
            with_retries(slow, policy=RetryPolicy(**quick), what="x")


def test_transient_failures_are_tried_again_and_others_are_not() -> None:
    from latentcache.storage.retry import with_retries  # noqa: PLC0415

    slept: list[float] = []
    policy = RetryPolicy(attempts=3, sleep=slept.append)
    failures = [TimeoutError("1"), OSError(5, "I/O error")]

    def flaky() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    assert with_retries(flaky, policy=policy, what="x") == "done"
    assert len(slept) == 2
    assert slept[1] > slept[0] / 2

    def hopeless() -> str:
        raise PermissionError(13, "no")

    with pytest.raises(PermissionError):
        with_retries(hopeless, policy=policy, what="x")
    assert len(slept) == 2


def test_the_clock_is_the_storages(folder: Folder) -> None:
    folder.write("x", b"")
    assert abs(folder.now_s() - folder.stat("x").modified_s) < 60
    assert names(folder, with_temporary=True) == ["x"]


def test_deleting_twice_is_no_error(folder: Folder) -> None:
    folder.write("x", b"")
    folder.delete(["x", "never"])
    folder.delete(["x"])
    folder.delete([])
    assert names(folder) == []


def test_emptiness_ignores_leftovers(folder: Folder) -> None:
    assert folder.is_empty()
    folder.write("x", b"")
    assert not folder.is_empty()
    folder.delete(["x"])
    (folder.local_path() / ".tmp.1").write_bytes(b"")
    assert folder.is_empty()


def test_memory_and_other_file_systems_serve_too() -> None:
    folder = Folder.open("memory://place/deep")
    folder.write("a/b", b"12")
    assert folder.read("a/b", start=1) == b"2"
    assert names(folder) == ["a/b"]
    assert list(folder.list_folders()) == ["a"]
    assert folder.create_if_absent("c", b"w1", write_id="w1")
    assert not folder.create_if_absent("c", b"w2", write_id="w2")
    assert not folder.is_local
    assert folder.local_path("a") is None
    folder.delete(["a/b", "c", "gone"])
    assert names(folder) == []


class Quiet(http.server.SimpleHTTPRequestHandler):
    """What ``python -m http.server`` serves with: it answers every range with the whole file."""

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_that_ignores_ranges_is_refused_in_one_sentence(served: tuple[Path, str]) -> None:
    pytest.importorskip("aiohttp")
    place, url = served
    (place / "rows.bin").write_bytes(bytes(range(64)))
    folder = Folder.open(url)
    assert folder.read("rows.bin") == bytes(range(64))
    assert folder.read("rows.bin", start=0, end=64) == bytes(range(64))
    for start, end in [(8, 16), (None, 8)]:
        with pytest.raises(StorageError, match="must answer byte ranges, got 64 bytes"):
            folder.read("rows.bin", start=start, end=end)


def test_threads_share_one_backend_and_a_fork_gets_its_own(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: set[int] = set()

    def look() -> None:
        found.add(id(opened_backend(folder.url, "")))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert id(opened_backend(folder.url, "")) not in found
