"""Remote stores through the cache give the batches of a local one, whatever happens to it."""

import errno
import fcntl
import itertools
import os
import secrets
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from latentcache.core.errors import ConfigError, ShardCorruptError
from latentcache.loader import LatentLoader, LoaderOptions, Source
from latentcache.loader.cache.shard_cache import ShardCache
from latentcache.loader.gather.range_gather import RangeGather
from latentcache.store import Store, UnitEntry
from tests.loader.conftest import make_store
from tests.loader.test_gather import gather_of, keys_of


@pytest.fixture(scope="module")
def remote() -> Store:
    return make_store(f"memory://{secrets.token_hex(8)}/store")


@pytest.fixture
def entries(remote: Store) -> list[UnitEntry]:
    return [entry for entry in remote.snapshot().column("latents").units() if entry.tar]


def batches(store: Store, options: LoaderOptions | None = None) -> list[torch.Tensor]:
    loader = LatentLoader(store, global_batch_size=12, options=options)
    return [batch["latents"] for batch in itertools.islice(loader, 25)]


@pytest.mark.parametrize(
    ("window_shards", "cache_bytes"), [(0, 110_000), (2, 420_000), (0, 10**9), (2, 10**9)]
)
def test_a_remote_store_gives_a_local_one_s_batches(
    store: Store, remote: Store, tmp_path: Path, window_shards: int, cache_bytes: int
) -> None:
    """A cache that holds three tars is slow, never wrong."""
    local = batches(store, LoaderOptions(window_shards=window_shards))
    options = LoaderOptions(
        window_shards=window_shards, cache=tmp_path / "cache", cache_bytes=cache_bytes
    )
    for ours, theirs in zip(local, batches(remote, options), strict=True):
        assert torch.equal(ours, theirs)
    assert ShardCache(tmp_path / "cache", cache_bytes).size_bytes() <= cache_bytes


def test_shards_of_the_next_window_are_there_before_they_are_needed(
    remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[tuple[str, str]] = []
    write, fetch_ahead = ShardCache._write, ShardCache.fetch_ahead

    def noted(self: ShardCache, path: Path, chunks: object) -> None:
        fetched.append((threading.current_thread().name, path.stem))
        write(self, path, chunks)

    def awaited(self: ShardCache, folder: object, ref: object) -> None:
        fetch_ahead(self, folder, ref)
        self.wait()  # the threads are few: let them catch up

    monkeypatch.setattr(ShardCache, "_write", noted)
    monkeypatch.setattr(ShardCache, "fetch_ahead", awaited)
    source = Source(store=remote, filter='bucket == "1x64x64"')
    options = LoaderOptions(window_shards=1, cache=tmp_path)
    loader = LatentLoader(source, global_batch_size=5, options=options)
    list(itertools.islice(loader, 8))
    before = len([name for name, _ in fetched if name == "MainThread"])
    list(itertools.islice(loader, 12))
    assert len([name for name, _ in fetched if name == "MainThread"]) == before
    assert any(name.startswith("latentcache-fetch") for name, _ in fetched)


def test_a_cache_smaller_than_the_windows_is_refused_at_the_start(
    remote: Store, tmp_path: Path
) -> None:
    options = LoaderOptions(window_shards=2, cache=tmp_path, cache_bytes=200_000)
    with pytest.raises(ConfigError, match=r"cache_bytes must hold the windows .*, got 200000"):
        LatentLoader(remote, global_batch_size=12, options=options)


def test_the_first_window_is_fetched_ahead_wherever_a_run_begins(
    remote: Store, tmp_path: Path
) -> None:
    """By threads, and all of it: the batches of the window find their tars."""
    source = Source(store=remote, filter='bucket == "1x64x64"')
    whole = LatentLoader(
        source,
        global_batch_size=5,
        options=LoaderOptions(window_shards=1, cache=tmp_path / "whole"),
    )
    state = [batch.state for batch in itertools.islice(whole, 9)][-1]
    for name, at in (("begin", None), ("resume", state)):
        options = LoaderOptions(window_shards=1, cache=tmp_path / name)
        loader = LatentLoader(source, global_batch_size=5, options=options)
        if at is not None:
            loader.load_state_dict(at)
        batches = iter(loader)
        next(batches)
        loader._cache.wait()
        fetched = loader.cache_progress()
        assert fetched.num_fetched >= 3  # 40 rows in tars of 16: a whole shard
        assert fetched.num_pending == 0
        tars = (tmp_path / name).glob("*.tar")
        assert fetched.fetched_bytes == sum(tar.stat().st_size for tar in tars)


def test_a_batch_s_tars_are_fetched_side_by_side(
    remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    write = ShardCache._write

    def noted(self: ShardCache, path: Path, chunks: object) -> None:
        threads.add(threading.current_thread().name)
        write(self, path, chunks)

    monkeypatch.setattr(ShardCache, "_write", noted)
    loader = LatentLoader(remote, global_batch_size=30, options=LoaderOptions(cache=tmp_path))
    next(iter(loader))
    loader._cache.wait()
    assert any(name.startswith("latentcache-fetch") for name in threads)


def test_a_cache_smaller_than_a_tar_is_refused(
    remote: Store, entries: list[UnitEntry], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="cache_bytes must hold a tar of"):
        ShardCache(tmp_path, 1000).fetch(remote.folder, entries[0].tar)


def test_what_was_not_used_for_longest_goes_first(
    remote: Store, entries: list[UnitEntry], tmp_path: Path
) -> None:
    first, second, third = (entry.tar for entry in entries[:3])
    room = first.size_bytes + second.size_bytes + third.size_bytes - 1
    cache = ShardCache(tmp_path, room)
    paths = {}
    for age, ref in enumerate((first, second)):
        paths[ref.sha256] = cache.fetch(remote.folder, ref)
        os.utime(paths[ref.sha256], (age, age))
    cache.fetch(remote.folder, first)  # used again
    cache.fetch(remote.folder, third)
    assert paths[first.sha256].exists()
    assert not paths[second.sha256].exists()


def test_a_tar_that_arrives_changed_is_named_and_not_kept(
    remote: Store, entries: list[UnitEntry], tmp_path: Path
) -> None:
    other = make_store(f"memory://{secrets.token_hex(8)}/store")
    ref = entries[0].tar
    data = bytearray(remote.folder.read(ref.name))
    data[700] ^= 1
    names = [entry.tar.name for entry in other.snapshot().column("latents").units() if entry.tar]
    other.folder.write(names[0], bytes(data))
    cache = ShardCache(tmp_path / "cache", 10**9)
    changed = other.snapshot().column("latents").units()[0].tar
    with pytest.raises(ShardCorruptError, match=f"SHA-256 {changed.sha256[:16]}, got .*tar in mem"):
        cache.fetch(other.folder, changed)
    assert cache.size_bytes() == 0
    assert not list((tmp_path / "cache").glob("*.partial"))
    other.folder.delete([names[0]])
    with pytest.raises(ShardCorruptError, match="tar must be in the store, got none"):
        cache.fetch(other.folder, changed)


def test_leftovers_of_a_killed_process_are_cleared_and_a_living_one_s_are_not(
    tmp_path: Path,
) -> None:
    old, new = tmp_path / "a.partial", tmp_path / "b.partial"
    old.touch()
    with new.open("xb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        ShardCache(tmp_path, 10)
        assert (old.exists(), new.exists()) == (False, True)
    ShardCache(tmp_path, 10)
    assert not new.exists()


def test_a_torn_file_under_a_final_name_is_fetched_again(
    remote: Store, entries: list[UnitEntry], tmp_path: Path
) -> None:
    cache, ref = ShardCache(tmp_path, 10**9), entries[0].tar
    (tmp_path / f"{ref.sha256}.tar").write_bytes(b"torn")
    assert cache.fetch(remote.folder, ref).read_bytes() == remote.folder.read(ref.name)


def test_two_jobs_on_one_cache_fetch_once_and_agree(
    remote: Store, entries: list[UnitEntry], tmp_path: Path
) -> None:
    ref = entries[0].tar
    caches = [ShardCache(tmp_path, 10**9) for _ in range(4)]
    written: list[int] = []
    start = threading.Barrier(4)

    def work(cache: ShardCache) -> None:
        write = cache._write

        def counted(*args: object) -> None:
            written.append(1)
            write(*args)

        cache._write = counted
        start.wait()
        cache.fetch(remote.folder, ref)

    threads = [threading.Thread(target=work, args=(cache,)) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(written) == 1


@pytest.mark.parametrize("num_full", [1, 9])
def test_a_full_disk_costs_the_cache_and_then_says_so(
    remote: Store,
    entries: list[UnitEntry],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_full: int,
) -> None:
    cache = ShardCache(tmp_path, 10**9)
    held = cache.fetch(remote.folder, entries[0].tar)
    full = iter(range(num_full))
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if next(full, None) is not None:
            raise OSError(errno.ENOSPC, "no space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    if num_full == 1:
        assert cache.fetch(remote.folder, entries[1].tar).exists()
    else:
        with pytest.raises(ConfigError, match="cache disk must have room for a tar of"):
            cache.fetch(remote.folder, entries[1].tar)
    assert not held.exists()
    assert not list(tmp_path.glob("*.partial"))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cache must be a folder that can be written"):
        ShardCache(tmp_path / "file", 10)


def test_tars_that_left_the_address_range_come_back(store: Store) -> None:
    column = store.snapshot().column("latents")
    few, index = gather_of(RangeGather, column, 0, max_mapped=2)
    rows = np.arange(100)[index.is_present(np.arange(100))]
    expected = keys_of(gather_of(RangeGather, column, 0)[0], index, rows)
    again = [keys_of(few, index, rows[at : at + 7]) for at in range(0, len(rows), 7)]
    assert list(itertools.chain(*again)) == expected
    assert keys_of(few, index, rows) == expected
