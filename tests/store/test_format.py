"""Format 1 is a promise: stores written once stay readable, by us and by strangers."""

import ast
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from latentcache.store.format.records import Generation
from latentcache.store.format.tensors import TensorBytes
from latentcache.store.format.unit_meta import meta_bytes
from latentcache.store.store import Store
from latentcache.store.units.unit_reader import read_unit_meta
from latentcache.store.verification import verify_snapshot
from tests.golden import make_format1 as golden
from tests.store import small_store, standalone_reader
from tests.store.plan_rows import key_of

PRESENT = [place[1:] for place in golden.places() if place[1:] not in golden.REJECTED]
NUMPY_TYPES = {"F16": np.float16, "F32": np.float32, "I64": np.int64, "BF16": np.uint16}


@pytest.fixture(scope="module")
def store() -> Store:
    return Store.open(golden.GOLDEN)


def raw(value: np.ndarray | TensorBytes) -> bytes:
    return bytes(value.data) if isinstance(value, TensorBytes) else value.tobytes()


def test_the_golden_store_is_sound(store: Store) -> None:
    report = verify_snapshot(store.snapshot(1))
    assert report.damaged == ()
    assert (report.num_shards, report.num_samples) == (4, 10)


@pytest.mark.parametrize("column", golden.COLUMNS)
def test_the_golden_store_still_reads(store: Store, column: str) -> None:
    view = store.snapshot().column(column)
    samples = list(view.iter_samples())
    assert [(unit.shard, row) for _, unit, row, _ in samples] == PRESENT
    runs = {(shard, row): run for run, shard, row in golden.places()}
    for key, unit, row, fields in samples:
        assert key == golden.key_of(unit.shard, row)
        expected = golden.COLUMNS[column][1](runs[unit.shard, row].bucket, unit.shard, row)
        assert {name: raw(value) for name, value in fields.items()} == {
            name: raw(value) for name, value in expected.items()
        }
    reasons = view.quarantine()["reason"].to_pylist()
    assert reasons == ["the file holds no bytes"] + ["the pixels end early"] * 3
    np.testing.assert_array_equal(view.statistics()["rows"], [0, 8])
    assert (view.num_encoded, view.num_quarantined, view.num_missing) == (5, 4, 0)


def test_the_golden_store_still_has_its_annotations(store: Store) -> None:
    caption = store.snapshot().annotation("caption")
    assert caption is not None
    assert caption.value(0, 0) is None
    assert caption.value(2, 1) == "Möwe 1"


@pytest.mark.parametrize("column", golden.COLUMNS)
def test_todays_writers_make_the_golden_bytes(store: Store, tmp_path: Path, column: str) -> None:
    shutil.copytree(golden.GOLDEN, tmp_path / "copy")
    copy = Store.open(tmp_path / "copy")
    view = store.snapshot().column(column)
    for entry in view.units():
        commit = golden.write_unit(copy, view.record, entry.unit)
        assert (commit.tar and commit.tar.sha256) == (entry.tar and entry.tar.sha256)
        assert commit.meta.sha256 == entry.meta.sha256


def test_golden_metas_come_back_to_the_byte(store: Store) -> None:
    for view in store.snapshot().columns.values():
        for entry in view.units():
            data = meta_bytes(read_unit_meta(store.folder, entry))
            assert hashlib.sha256(data).hexdigest() == entry.meta.sha256


def test_golden_records_come_back_to_the_byte(store: Store) -> None:
    (generation,) = store.generations()
    assert generation.to_bytes() == store.folder.read("plan/0.json")
    assert isinstance(generation, Generation)
    record = store.snapshot().record
    assert record.to_bytes() == store.folder.read("snapshots/1.json")


def test_the_golden_store_is_small() -> None:
    size = sum(path.stat().st_size for path in golden.GOLDEN.rglob("*") if path.is_file())
    assert size < 100 * 1024


def test_a_stranger_reads_the_golden_store_in_forty_lines() -> None:
    samples = list(standalone_reader.read_store(golden.GOLDEN, "latents"))
    assert [(sample["shard"], sample["row"]) for sample in samples] == PRESENT
    assert [sample["path"] for sample in samples] == [golden.path_of(*at) for at in PRESENT]
    runs = {(shard, row): run for run, shard, row in golden.places()}
    for sample in samples:
        place = sample["shard"], sample["row"]
        expected = golden.latents(runs[place].bucket, *place)
        for name, tensor in sample["tensors"].items():
            assert bytes(tensor["data"]) == raw(expected[name])
            assert tuple(tensor["shape"]) == expected[name].shape


def test_a_stranger_reads_a_store_of_today(tmp_path: Path) -> None:
    small_store.build(tmp_path / "store")
    samples = list(standalone_reader.read_store(tmp_path / "store", "latents"))
    assert len(samples) == 34
    for sample in samples:
        tag = sample["tensors"]["tag"]
        numbers = np.frombuffer(tag["data"], NUMPY_TYPES[tag["dtype"]]).tolist()
        assert numbers == [sample["shard"], sample["row"]]
        assert sample["key"] == key_of(*numbers)


def test_the_strangers_reader_uses_nothing_of_ours() -> None:
    source = Path(standalone_reader.__file__).read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 40
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported == {"collections", "json", "pathlib", "pyarrow", "safetensors", "tarfile"}
