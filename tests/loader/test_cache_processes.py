"""One cache folder, several processes: killed ones, deleted folders, and a real object store."""

import itertools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from latentcache.core.errors import ConfigError, ShardCorruptError
from latentcache.loader import LatentLoader, LoaderOptions
from latentcache.loader.cache.shard_cache import ShardCache
from latentcache.storage import Folder
from latentcache.store import Store, UnitEntry
from latentcache.store.format.records import ObjectRef
from tests.loader.conftest import make_store

FETCH = """
import json, sys
from pathlib import Path
from latentcache.loader.cache.shard_cache import ShardCache
from latentcache.storage import Folder
from latentcache.store.format.records import ObjectRef

url, cache_path, refs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
cache = ShardCache(Path(cache_path), 10**9)
print("open", flush=True)
for ref in refs:
    cache.fetch(Folder.open(url), ObjectRef(**ref))
print(cache.progress().num_fetched, flush=True)
"""


def start(folder: Folder, cache: Path, refs: list[ObjectRef]) -> subprocess.Popen[str]:
    plain = [{"name": ref.name, "size_bytes": ref.size_bytes, "sha256": ref.sha256} for ref in refs]
    command = [sys.executable, "-c", FETCH, folder.url, str(cache), json.dumps(plain)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def entries(store: Store) -> list[UnitEntry]:
    return [entry for entry in store.snapshot().column("latents").units() if entry.tar]


def test_two_jobs_on_one_folder_fetch_each_tar_once(
    store: Store, entries: list[UnitEntry], tmp_path: Path
) -> None:
    refs = [entry.tar for entry in entries]
    jobs = [start(store.folder, tmp_path, order) for order in (refs, refs[::-1])]
    counts = [int(job.communicate(timeout=60)[0].split()[1]) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert sum(counts) == len(refs) == len(list(tmp_path.glob("*.tar")))


def test_a_killed_fetch_leaves_nothing_that_anybody_uses(
    store: Store, entries: list[UnitEntry], tmp_path: Path
) -> None:
    """The store's file is a pipe that gives half of the tar and then waits."""
    ref, data = entries[0].tar, store.folder.read(entries[0].tar.name)
    slow, cache = Folder.open(tmp_path / "slow"), tmp_path / "cache"
    path = slow.local_path(ref.name)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    job = start(slow, cache, [ref])
    try:
        with path.open("wb") as pipe:
            pipe.write(data[: len(data) // 2])
            pipe.flush()
            (partial,) = cache.glob("*.partial")  # it opened the pipe, so it had made the file
            assert ShardCache(cache, 10**9).progress().num_fetched == 0
            assert partial.exists()  # its writer lives
            os.kill(job.pid, signal.SIGKILL)
            job.wait(timeout=60)
    finally:
        job.kill()
        job.communicate()
    assert not list(cache.glob("*.tar"))
    ours = ShardCache(cache, 10**9)
    assert not partial.exists()
    assert ours.fetch(store.folder, ref).read_bytes() == data


def test_a_folder_deleted_during_the_run_is_made_again(tmp_path: Path) -> None:
    remote = make_store(f"memory://{secrets.token_hex(8)}/store")
    whole = LatentLoader(
        remote, global_batch_size=12, options=LoaderOptions(cache=tmp_path / "whole")
    )
    shaken = LatentLoader(
        remote,
        global_batch_size=12,
        options=LoaderOptions(cache=tmp_path / "shaken", cache_bytes=110_000),
    )
    for expected, found in itertools.islice(zip(whole, shaken, strict=True), 12):
        assert torch.equal(expected["latents"], found["latents"])
        shutil.rmtree(tmp_path / "shaken")


def test_a_folder_that_became_a_file_is_told(
    store: Store, entries: list[UnitEntry], tmp_path: Path
) -> None:
    cache = ShardCache(tmp_path / "cache", 10**9)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").touch()
    with pytest.raises(ConfigError, match="cache must be a folder that can be written, got"):
        cache.fetch(store.folder, entries[0].tar)


def test_what_arrives_damaged_once_is_fetched_again(
    store: Store,
    entries: list[UnitEntry],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ref, data = entries[0].tar, store.folder.read(entries[0].tar.name)
    damaged = Folder.open(tmp_path / "damaged")
    damaged.write(ref.name, data[:-1] + b"x")
    open_read = Folder.open_read
    opened: list[str] = []

    def healing(self: Folder, name: str) -> object:
        opened.append(name)
        return open_read(self if len(opened) == 1 else store.folder, name)

    monkeypatch.setattr(Folder, "open_read", healing)
    assert ShardCache(tmp_path / "cache", 10**9).fetch(damaged, ref).read_bytes() == data
    assert f"SHA-256 {ref.sha256[:16]}, got" in caplog.text
    opened.clear()
    monkeypatch.setattr(Folder, "open_read", open_read)
    with pytest.raises(ShardCorruptError, match=r"tar must have .* run latentcache verify"):
        ShardCache(tmp_path / "other", 10**9).fetch(damaged, ref)


def test_verify_finds_damage_inside_a_local_tar(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    entry = store.snapshot().column("latents").units()[1]
    path = store.folder.local_path(entry.tar.name)
    options = LoaderOptions(verify=True)
    list(itertools.islice(LatentLoader(store, global_batch_size=40, options=options), 6))
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.write_bytes(bytes(data))
    loader = LatentLoader(store, global_batch_size=40, options=options)
    with pytest.raises(ShardCorruptError, match=f"tar must have SHA-256 .* got .*{path.name}"):
        list(itertools.islice(loader, 6))


@pytest.mark.s3
def test_a_run_from_a_real_object_store_is_that_of_a_local_one(
    store: Store, s3_url: str, tmp_path: Path
) -> None:
    """Captions and plan values as well, begun, stopped and gone on with."""
    remote = Folder.open(f"{s3_url}/store")
    for info in store.folder.list():
        is_needed = "/dino/" not in info.name or info.name.endswith("encoding.json")
        if is_needed and "/commits/" not in info.name:
            remote.write(info.name, store.folder.read(info.name))
    names = ["latents", "caption", "crop"]
    options = LoaderOptions(window_shards=1, cache=tmp_path)
    local = LatentLoader(
        store, columns=names, global_batch_size=12, options=LoaderOptions(window_shards=1)
    )
    expected = list(itertools.islice(local, 12))
    first = LatentLoader(remote.url, columns=names, global_batch_size=12, options=options)
    found = list(itertools.islice(first, 5))
    second = LatentLoader(remote.url, columns=names, global_batch_size=12, options=options)
    second.load_state_dict(found[-1].state)
    found += itertools.islice(second, 7)
    for one, two in zip(expected, found, strict=True):
        assert torch.equal(one["latents"], two["latents"])
        assert one["caption"] == two["caption"]
        assert torch.equal(one["crop"], two["crop"])
    assert first.cache_progress().num_fetched > 0
    assert list(tmp_path.glob("*.arrow"))
