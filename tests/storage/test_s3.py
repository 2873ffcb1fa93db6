"""The same promises over a real HTTP S3 server."""

import multiprocessing
import pickle
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from latentcache.core.seeds import new_write_id
from latentcache.storage import CreateIfAbsentSupport, Folder, RetryPolicy, StorageError, waiting
from tests.s3_servers import S3Server

pytestmark = pytest.mark.s3


@pytest.fixture
def folder(s3_url: str) -> Folder:
    return Folder.open(f"{s3_url}/deep/store")


def test_objects_come_back_and_listings_are_never_cached(folder: Folder, tmp_path: Path) -> None:
    assert folder.is_empty()
    folder.write("a/x", b"0123456789")
    other = pickle.loads(pickle.dumps(folder))
    assert [info.name for info in other.list()] == ["a/x"]
    folder.write("a/y", b"1")
    source = tmp_path / "z"
    source.write_bytes(b"zzz")
    folder.upload("b/z", source)
    assert sorted(info.name for info in other.list()) == ["a/x", "a/y", "b/z"]
    assert list(other.list_folders()) == ["a", "b"]
    assert other.read("a/x", start=2, end=4) == b"23"
    assert other.read("a/x", start=8) == b"89"
    with other.open_read("a/x") as file:
        file.seek(9)
        assert file.read() == b"9"
    stat, listed = folder.stat("a/x"), next(iter(folder.list("a")))
    assert stat.size_bytes == 10
    assert stat.version == listed.version != ""
    assert abs(stat.modified_s - listed.modified_s) < 2
    assert folder.stat("a") is None
    with pytest.raises(FileNotFoundError):
        folder.read("absent")
    folder.delete(["a/x", "a/y", "b/z", "absent"])
    assert list(other.list()) == []


def read_in_child(folder: Folder, results: "multiprocessing.Queue[bytes]") -> None:
    results.put(folder.read("x"))


def test_a_process_that_was_forked_opens_the_storage_anew(folder: Folder) -> None:
    folder.write("x", b"1")
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[bytes] = context.Queue()
    child = context.Process(target=read_in_child, args=(folder, results))
    child.start()
    assert results.get(timeout=60) == b"1"
    child.join(60)


def test_a_name_that_begins_alike_is_not_in_the_folder(folder: Folder) -> None:
    folder.write("commits/1", b"")
    folder.write("commits-old/1", b"")
    assert [info.name for info in folder.list("commits")] == ["commits/1"]


def test_of_many_threads_one_wins(folder: Folder, s3_server: S3Server) -> None:
    if not s3_server.one_wins:
        pytest.skip("this server lets two win")

    def race(racer: int) -> tuple[str, bool]:
        write_id = new_write_id()
        return write_id, folder.create_if_absent("x", write_id.encode(), write_id=write_id)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(race, range(8)))
    winners = [write_id for write_id, won in outcomes if won]
    assert winners == [folder.read("x").decode()]


def test_the_probe_finds_conditional_writes(folder: Folder, s3_server: S3Server) -> None:
    found = folder.probe_create_if_absent()
    assert found is CreateIfAbsentSupport.EXCLUSIVE or not s3_server.one_wins
    assert folder.is_empty()


def test_the_clock_is_the_servers(folder: Folder) -> None:
    folder.write("x", b"")
    assert abs(folder.now_s() - folder.stat("x").modified_s) < 60


def test_a_missing_bucket_and_a_dead_endpoint_are_one_sentence(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match=r"must exist, got NoSuchBucket.*create the bucket"):
        Folder.open("s3://no-such-bucket-here/x").write("a", b"")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    dead = Folder("s3://bucket/other", RetryPolicy(attempts=1))
    with pytest.raises(OSError, match=r"storage must be reachable|127\.0\.0\.1") as caught:
        dead.read("a")
    assert "testing" not in str(caught.value)


@pytest.mark.parametrize("name", ["a[1]", "b*", "c?d", "e{f,g}"])
def test_names_are_never_patterns(s3_url: str, name: str) -> None:
    plain, odd = Folder.open(f"{s3_url}/a1"), Folder.open(f"{s3_url}/{name}")
    for folder in (plain, odd):
        folder.write("x/y", b"1")
    assert odd.probe_create_if_absent() is not CreateIfAbsentSupport.ABSENT
    assert [info.name for info in odd.list()] == ["x/y"]
    odd.delete(["x/y"])
    assert odd.is_empty()
    assert plain.read("x/y") == b"1"


def test_what_the_server_refuses_to_delete_is_said(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs  # noqa: PLC0415  takes a second

    folder.write("x", b"1")
    answered = {
        "Errors": [{"Key": "deep/store/x", "Code": "AccessDenied", "Message": "Access Denied"}]
    }
    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", lambda *_, **__: answered)
    with pytest.raises(StorageError, match=r"1 that .* keeps \(e\.g\. deep/store/x: Access Denied"):
        folder.delete(["x"])


def test_an_endpoint_that_never_answers_is_named_soon_and_given_up_by_the_deadline(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import s3fs  # noqa: PLC0415  takes a second

    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 0.5)
    monkeypatch.setattr(waiting, "FIRST_WORD_S", 0.4)
    monkeypatch.setattr(waiting, "_LOOK_EVERY_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        deaf = Folder("s3://bucket/silent", RetryPolicy(deadline_s=1.0))
        with pytest.raises(OSError, match=r"storage must be reachable|timeout|imed out"):
            deaf.read("latentcache.json")
    words = [record.getMessage() for record in caplog.records]
    assert any(
        word.startswith("waiting for s3://bucket/silent to answer (reading latentcache.json)")
        for word in words
    ), words
    # The client's three tries of half a second are past the deadline: no second round.
    assert not any("trying again" in word for word in words), words


def test_a_whole_object_is_read_in_one_request(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs  # noqa: PLC0415  takes a second

    asked: list[str] = []
    call = s3fs.S3FileSystem._call_s3

    async def counted(self: object, method: str, *arguments: object, **named: object) -> object:
        asked.append(method)
        return await call(self, method, *arguments, **named)

    folder.write("x", bytes(100))
    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    monkeypatch.setattr(s3fs.S3FileSystem, "default_block_size", 10)
    assert folder.read("x") == bytes(100)
    assert asked == ["get_object"]
