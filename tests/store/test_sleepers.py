"""A writer that is stopped anywhere, for a day or while others go on, wakes and does no harm."""

from collections.abc import Callable
from itertools import count

import pytest

from latentcache.core.errors import ShardCorruptError, StoreError
from latentcache.storage import Folder, ahead, exclusive
from latentcache.store.garbage import GRACE_S
from latentcache.store.snapshots.snapshot import Snapshot
from latentcache.store.verification import verify_snapshot
from tests.store import drivers
from tests.store.faulty_store import FaultyBackend, FaultyFolder, Memory
from tests.store.turns import InOrder, Writer


@pytest.fixture(autouse=True)
def _in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "ThreadPoolExecutor", InOrder)
    monkeypatch.setattr(exclusive, "ThreadPoolExecutor", InOrder)


@pytest.fixture(scope="module")
def encoded() -> Memory:
    """A store with all units of two columns, and no snapshot."""
    memory = Memory()
    store = drivers.opened(FaultyFolder.of(memory))
    store.write_generation(drivers.first_plan())
    for column, fingerprint in (("latents", "f"), ("dino", "d")):
        drivers.encode_missing(store, drivers.pinned(store, column, fingerprint))
    return memory


def asleep(memory: Memory, work: Callable[[Folder], object], moves: int) -> Writer:
    """Return a writer that has done ``moves`` operations, or all it had to do."""
    folders: list[FaultyFolder] = []
    writer = Writer("sleeper", lambda _: work(folders[0]))
    folders.append(FaultyFolder.of(memory, writer))
    for _ in range(moves + 1):
        writer.move()
    return writer


def wake(writer: Writer) -> str:
    """Let it finish, and return the sentence that it ended with, or ""."""
    while not writer.is_done:
        writer.move()
    if writer.error is None:
        return ""
    assert isinstance(writer.error, StoreError | ShardCorruptError), writer.error
    assert "run it again" in str(writer.error)
    return str(writer.error)


def newest(memory: Memory) -> Snapshot:
    return drivers.opened(FaultyFolder.of(memory)).snapshot()


def publish_latents(folder: Folder) -> object:
    store = drivers.opened(folder)
    return drivers.publish(store, drivers.pinned(store, "latents", "f"), drivers.newest(store))


def test_a_publisher_that_sleeps_past_the_grace_names_nothing_that_gc_took(
    encoded: Memory,
) -> None:
    for moves in count():
        memory = encoded.copy()
        writer = asleep(memory, publish_latents, moves)
        if writer.is_done:
            break
        memory.now_s += GRACE_S + 3600
        drivers.gc(FaultyFolder.of(memory), "", "")
        if wake(writer):
            publish_latents(FaultyFolder.of(memory))
        assert verify_snapshot(newest(memory)).ok
    assert moves > 10


def test_a_publisher_whose_number_was_taken_and_retired_loses_no_column(encoded: Memory) -> None:
    for moves in count():
        memory = encoded.copy()
        writer = asleep(memory, publish_latents, moves)
        if writer.is_done:
            break
        folder = FaultyFolder.of(memory)
        drivers.build(folder, "dino", "d")
        drivers.encode_again(folder, "dino", "d")
        drivers.build(folder, "dino", "d")
        drivers.retire(folder, "", "")
        assert not wake(writer)
        snapshot = newest(memory)
        assert set(snapshot.columns) == {"dino", "latents"}
        assert verify_snapshot(snapshot).ok


def test_a_plan_that_took_longer_than_gc_waits_is_refused_and_made_again() -> None:
    refused = 0
    for moves in count():
        memory = Memory()
        drivers.opened(FaultyFolder.of(memory))
        writer = asleep(
            memory,
            lambda folder: drivers.opened(folder).write_generation(drivers.first_plan()),
            moves,
        )
        if writer.is_done:
            break
        memory.now_s += GRACE_S + 3600
        drivers.gc(FaultyFolder.of(memory), "", "")
        refused += "must be named within 12 h, got 25 h" in wake(writer)
        drivers.build(FaultyFolder.of(memory), "latents", "f")
        assert verify_snapshot(newest(memory)).ok
    assert refused > 0


def test_a_snapshot_whose_tables_are_lost_is_replaced_and_can_be_given_up(encoded: Memory) -> None:
    memory = encoded.copy()
    folder = FaultyFolder.of(memory)
    publish_latents(folder)
    store = drivers.opened(folder)
    units = store.snapshot().column("latents").entry.units.name
    memory.remove(units)
    with pytest.raises(StoreError, match=r"got 1 without .*--retire 1"):
        drivers.gc(folder, "", "")
    publish_latents(folder)
    assert store.snapshots() == [1, 2]
    assert verify_snapshot(store.snapshot()).ok
    for _ in range(2):
        memory.now_s += 2 * GRACE_S
        drivers.retire(folder, "", "")
    assert store.snapshots() == [2]
    assert verify_snapshot(store.snapshot()).ok


@pytest.mark.parametrize("beginning", ["plan/", "annotations/", "encodings/", "snapshots/"])
def test_a_file_that_lands_cut_is_noticed_before_anything_names_it(
    beginning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, cuts = Memory(), []
    real = FaultyBackend.upload

    def cut(self, name, path) -> None:
        real(self, name, path)
        if name.startswith(beginning) and not cuts:
            cuts.append(name)
            memory.put(name, memory.objects[name].data[:-1])

    monkeypatch.setattr(FaultyBackend, "upload", cut)
    folder = FaultyFolder.of(memory)
    with pytest.raises(ShardCorruptError, match="after writing, got"):
        drivers.build(folder, "latents", "f")
    drivers.build(folder, "latents", "f")
    assert verify_snapshot(newest(memory)).ok
