"""A store that is not on this machine's disks works the same, through fsspec alone."""

import secrets

import fsspec
import numpy as np
import pytest

from latentcache.core.errors import ShardCorruptError
from latentcache.storage import Folder
from latentcache.store.format import write_check as landing
from latentcache.store.format.records import ObjectRef
from latentcache.store.rows.annotations import open_annotation
from latentcache.store.snapshots.snapshot import Snapshot
from latentcache.store.store import Store
from latentcache.store.verification import verify_snapshot
from tests.golden import make_format1 as golden


@pytest.fixture
def snapshot() -> Snapshot:
    url = f"memory://{secrets.token_hex(8)}/store"
    golden.make(url)
    return Store.open(url).snapshot()


def test_what_was_written_is_read_and_sound(snapshot: Snapshot) -> None:
    assert not snapshot.folder.is_local
    report = verify_snapshot(snapshot)
    assert report.damaged == ()
    assert report.num_samples == 10
    view = snapshot.column("latents")
    assert [key for key, *_ in view.iter_samples()] == [
        golden.key_of(*place[1:]) for place in golden.places() if place[1:] not in golden.REJECTED
    ]
    fields = view.read_sample(golden.key_of(2, 1))
    expected = golden.latents(golden.WIDE, 2, 1)
    np.testing.assert_array_equal(fields["logvar"], expected["logvar"])
    caption = open_annotation(snapshot.folder, snapshot.generations[0], "caption")
    assert caption.take(np.array([2, 0]), np.array([1, 3])).to_pylist() == ["Möwe 1", "Möwe 3"]


def test_tars_have_the_golden_bytes(snapshot: Snapshot) -> None:
    there = Store.open(golden.GOLDEN).snapshot()
    for column in golden.COLUMNS:
        pairs = zip(snapshot.column(column).units(), there.column(column).units(), strict=True)
        for ours, theirs in pairs:
            assert (ours.tar and ours.tar.sha256) == (theirs.tar and theirs.tar.sha256)
            assert ours.meta.sha256 == theirs.meta.sha256


def test_tars_are_listed_as_urls(snapshot: Snapshot) -> None:
    for url in snapshot.column("latents").tar_urls():
        with fsspec.open(url) as file:
            assert file.read(20).decode() in {golden.key_of(0, 0), golden.key_of(2, 0)}


def test_damage_is_found(snapshot: Snapshot) -> None:
    entry = snapshot.column("latents").units()[0]
    data = bytearray(snapshot.folder.read(entry.tar.name))
    data[700] ^= 1
    snapshot.folder.write(entry.tar.name, bytes(data))
    snapshot.folder.delete([snapshot.column("embeds").units()[2].tar.name])
    found = {(one.column, one.unit.shard) for one in verify_snapshot(snapshot).damaged}
    assert found == {("latents", 0), ("embeds", 2)}


@pytest.mark.parametrize("end", ["head", "tail"])
def test_large_objects_are_compared_at_both_ends(tmp_path, monkeypatch, end: str) -> None:
    monkeypatch.setattr(landing, "READ_BACK_BYTES", 1000)
    monkeypatch.setattr(landing, "_CHUNK_BYTES", 100)
    folder = Folder.open(f"memory://{secrets.token_hex(8)}")
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(250)) * 5)
    ref = ObjectRef(name="big", size_bytes=1250, sha256="0" * 64)
    folder.upload("big", sent)
    landing.check_landed(folder, ref, sent=sent)
    damaged = bytearray(sent.read_bytes())
    damaged[0 if end == "head" else -1] ^= 1
    folder.write("big", bytes(damaged))
    with pytest.raises(ShardCorruptError, match="what was sent after writing, got other bytes"):
        landing.check_landed(folder, ref, sent=sent)
