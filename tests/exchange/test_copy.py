"""A copy holds the very bytes, is checked on the way, and is finished by running it again."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from latentcache.core.errors import ConfigError, ShardCorruptError, StoreError
from latentcache.core.fields import Field
from latentcache.exchange import copy_store, copy_subset
from latentcache.loader import LatentLoader, Source
from latentcache.stats import merge_arrays
from latentcache.storage import Folder
from latentcache.store import ColumnChange, Store, verify_snapshot
from tests.store.small_store import build, count, encoding_record, make_store, write_unit
from tests.store.stopping import StoppedError, StoppingFolder, stopping


def quiet(done: int, total: int) -> None:
    assert done <= total


def contents(url: str | Path) -> dict[str, bytes]:
    root = Path(url)
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    build(tmp_path / "store")
    return Store.open(tmp_path / "store")


def test_a_copy_has_the_very_objects_and_the_very_pin(store: Store, tmp_path: Path) -> None:
    done = copy_store(store, tmp_path / "copy", on_progress=quiet)
    assert contents(tmp_path / "copy") == contents(store.folder.url)
    copied = Store.open(tmp_path / "copy")
    assert copied.snapshot().pin == store.snapshot().pin
    assert verify_snapshot(copied.snapshot()).ok
    again = copy_store(store, tmp_path / "copy", on_progress=quiet)
    assert (again.num_objects, again.num_there) == (0, done.num_objects)


def test_a_copy_to_an_object_store_and_back_is_the_same(store: Store, tmp_path: Path) -> None:
    url = f"memory://copy-{tmp_path.name}/store"
    copy_store(store, url, on_progress=quiet)
    copy_store(Store.open(url), tmp_path / "back", on_progress=quiet)
    assert contents(tmp_path / "back") == contents(store.folder.url)


def test_a_copy_that_was_killed_anywhere_is_no_store_or_a_whole_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = tmp_path / "copy"
    for writes in range(200):
        folder = stopping(Store(Folder.open(dest), ""), writes, lands=bool(writes % 2)).folder
        monkeypatch.setattr(Folder, "open", lambda _, at=folder: at)
        try:
            copy_store(store, dest, on_progress=quiet)
        except StoppedError:
            monkeypatch.undo()
            assert not (dest / "latentcache.json").exists() or not Store.open(dest).snapshots()
            continue
        monkeypatch.undo()
        break
    assert isinstance(folder, StoppingFolder)
    assert 4 < writes < 100
    found = {name: data for name, data in contents(dest).items() if ".tmp." not in name}
    assert found == contents(store.folder.url)


def test_damage_is_found_on_the_way_and_not_copied(store: Store, tmp_path: Path) -> None:
    tar = next(Path(store.folder.url).rglob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    with pytest.raises(ShardCorruptError, match="verify --repair"):
        copy_store(store, tmp_path / "copy", on_progress=quiet)
    assert not list((tmp_path / "copy").rglob(tar.name))


def test_another_store_or_other_files_are_left_alone(store: Store, tmp_path: Path) -> None:
    make_store(tmp_path / "other")
    with pytest.raises(StoreError, match="must be empty or a copy of store"):
        copy_store(store, tmp_path / "other", on_progress=quiet)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("mine")
    with pytest.raises(StoreError, match="other files"):
        copy_store(store, tmp_path / "files", on_progress=quiet)


def latents(store: Store) -> dict[str, bytes]:
    view = store.snapshot().column("latents")
    return {
        key: b"".join(np.asarray(getattr(v, "data", v)).tobytes() for v in fields.values())
        for key, _, _, fields in view.iter_samples()
    }


@pytest.fixture
def plain(tmp_path: Path) -> Store:
    """As the small store, with fields that statistics can be taken of."""
    store = make_store(tmp_path / "plain")
    fields = (
        Field(name="mean", kind="mean", axes="CHW", channels=4, dtype="bfloat16"),
        Field(name="logvar", kind="logvar", axes="CHW", channels=4, dtype="float16"),
        Field(name="tag", kind="aux", axes="N", channels=None, dtype="int64"),
    )
    record = encoding_record(
        fingerprint="e" * 32, fields=fields, spec={"name": "drawn", "posterior": "gaussian"}
    )
    store.write_encoding(record)
    (generation,) = store.generations()
    record = store.read_encoding("latents", "e" * 32)
    for unit in store.units(record):
        write_unit(store, record, generation, unit)
    store.publish([ColumnChange(record=record, merge_statistics=count)])
    return store


def test_a_filter_makes_a_store_of_its_samples_alone(plain: Store, tmp_path: Path) -> None:
    dest = tmp_path / "part"
    done = copy_subset(plain.snapshot(), dest, filter_text="bucket == '1x64x64'", on_progress=quiet)
    part = Store.open(dest)
    assert part.store_id != plain.store_id
    assert done.num_samples == part.generations()[0].num_rows == 27
    assert verify_snapshot(part.snapshot()).ok
    whole, found = latents(plain), latents(part)
    assert found == {key: whole[key] for key in found}
    entry = part.snapshot().column("latents").entry
    assert (entry.num_missing, entry.num_encoded) == (0, len(found))
    assert entry.num_quarantined == 27 - len(found)
    merged = merge_arrays([part.snapshot().column("latents").statistics()])
    assert merged["stats.mean.first.num_samples"].tolist() == [len(found)]
    again = copy_subset(
        plain.snapshot(), dest, filter_text="bucket == '1x64x64'", on_progress=quiet
    )
    assert (again.num_units, again.snapshot) == (0, done.snapshot)
    loader = LatentLoader(
        Source(store=str(dest)), columns=["latents"], global_batch_size=1, seed=0, one_pass=True
    )
    assert {batch["key"][0] for batch in loader} == set(found)


def test_another_filter_into_the_same_place_is_refused(plain: Store, tmp_path: Path) -> None:
    copy_subset(
        plain.snapshot(), tmp_path / "part", filter_text="bucket == '1x64x64'", on_progress=quiet
    )
    with pytest.raises(StoreError, match="must be empty or a copy of"):
        copy_subset(plain.snapshot(), tmp_path / "part", filter_text="row == 0", on_progress=quiet)
    with pytest.raises(ConfigError, match="must select a sample"):
        copy_subset(
            plain.snapshot(), tmp_path / "none", filter_text="row == 999", on_progress=quiet
        )


def test_a_copy_that_went_its_own_way_is_not_overwritten(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.folder.url, tmp_path / "copy")
    theirs = tmp_path / "copy" / "snapshots" / "1.json"
    write_id = store.snapshot().record.write_id.encode()
    theirs.write_bytes(theirs.read_bytes().replace(write_id, b"0123456789abcdef"))
    with pytest.raises(StoreError, match="gone its own way"):
        copy_store(store, tmp_path / "copy", on_progress=quiet)
