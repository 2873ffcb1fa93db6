"""Create-if-absent: one writer wins, and knows it, whatever became of the answer."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from latentcache.core.seeds import new_write_id
from latentcache.storage import CreateIfAbsentSupport, Folder, RetryPolicy, StorageError
from latentcache.storage.exclusive import create_if_absent, probe_create_if_absent
from latentcache.storage.local import LocalBackend

PATIENT = RetryPolicy(attempts=3, sleep=lambda _: None)


def race(folder: Folder, name: str, racer: int) -> tuple[str, bool]:
    write_id = new_write_id()
    data = f"{racer} {write_id}".encode()
    return write_id, folder.create_if_absent(name, data, write_id=write_id)


def race_in_process(
    url: str, racer: int, results: "multiprocessing.Queue[tuple[str, bool]]"
) -> None:
    results.put(race(Folder.open(url), "snapshots/1.json", racer))


def check_one_winner(folder: Folder, name: str, outcomes: list[tuple[str, bool]]) -> None:
    winners = [write_id for write_id, won in outcomes if won]
    assert len(winners) == 1
    assert winners[0].encode() in folder.read(name)


@pytest.mark.parametrize("turn", range(5))
def test_of_many_threads_one_wins(tmp_path: Path, turn: int) -> None:
    folder = Folder.open(tmp_path)
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda racer: race(folder, "a/x.json", racer), range(16)))
    check_one_winner(folder, "a/x.json", outcomes)
    assert [info.name for info in folder.list(with_temporary=True)] == ["a/x.json"]


def test_of_many_processes_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[tuple[str, bool]] = context.Queue()
    racers = [
        context.Process(target=race_in_process, args=(str(tmp_path), racer, results))
        for racer in range(4)
    ]
    for racer in racers:
        racer.start()
    outcomes = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join(60)
    check_one_winner(Folder.open(tmp_path), "snapshots/1.json", outcomes)


class LostAnswer(LocalBackend):
    """The write lands, the answer does not."""

    def put_if_absent(self, name: str, data: bytes) -> None:
        super().put_if_absent(name, data)
        raise TimeoutError("the answer was lost")


class RetriedBelow(LocalBackend):
    """A client that sends the write again after a lost answer, and meets its own object."""

    def put_if_absent(self, name: str, data: bytes) -> None:
        super().put_if_absent(name, data)
        super().put_if_absent(name, data)


class Replacing(LocalBackend):
    """A storage that ignores the condition."""

    def put_if_absent(self, name: str, data: bytes) -> None:
        self.write(name, data)


class Flaky(LocalBackend):
    """Fails before it does anything, some times."""

    def put_if_absent(self, name: str, data: bytes) -> None:
        seen = self.root / ".tmp.seen"
        if not seen.exists():
            seen.touch()
            raise ConnectionResetError("reset")
        super().put_if_absent(name, data)


@pytest.mark.parametrize("backend_type", [LostAnswer, RetriedBelow, Replacing, Flaky])
def test_who_wrote_it_knows_so_whatever_the_answer_was(
    tmp_path: Path, backend_type: type[LocalBackend]
) -> None:
    backend = backend_type(tmp_path)
    assert create_if_absent(backend, "x", b"w1", write_id="w1", policy=PATIENT)
    assert not create_if_absent(backend, "x", b"w2", write_id="w2", policy=PATIENT)
    assert backend.read("x", None, None) == b"w1"


def test_who_was_replaced_right_after_writing_knows_it_lost(tmp_path: Path) -> None:
    class Overtaken(LocalBackend):
        def put_if_absent(self, name: str, data: bytes) -> None:
            self.write(name, data.replace(b"w1", b"w2"))

    assert not create_if_absent(Overtaken(tmp_path), "x", b"w1", write_id="w1", policy=PATIENT)


def test_a_failure_that_leaves_nothing_is_raised(tmp_path: Path) -> None:
    class Refusing(LocalBackend):
        def put_if_absent(self, name: str, data: bytes) -> None:
            raise PermissionError(13, "no", f"{name} {len(data)}")

    with pytest.raises(PermissionError):
        create_if_absent(Refusing(tmp_path), "x", b"w1", write_id="w1", policy=PATIENT)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"destination must be a folder|Not a directory") as caught:
        Folder.open(tmp_path / "file").create_if_absent("x", b"w", write_id="w")
    assert isinstance(caught.value, (StorageError, NotADirectoryError))


def test_a_probe_tells_what_a_storage_really_does(tmp_path: Path) -> None:
    assert probe_create_if_absent(LocalBackend(tmp_path)) is CreateIfAbsentSupport.EXCLUSIVE
    assert probe_create_if_absent(Replacing(tmp_path)) is CreateIfAbsentSupport.ABSENT
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_links_still_refuses_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    folder = Folder.open(tmp_path)
    assert folder.create_if_absent("x", b"w1", write_id="w1")
    assert not folder.create_if_absent("x", b"w2", write_id="w2")
    assert folder.read("x") == b"w1"
    assert "has no hard links" in caplog.text
