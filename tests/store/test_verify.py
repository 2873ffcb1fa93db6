"""Whatever is wrong with a snapshot is found and told in one sentence; what is right is not."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from latentcache.core.fields import Field
from latentcache.core.units import UnitId
from latentcache.store.format.object_names import UnitObject, unit_object_name
from latentcache.store.format.tensors import TensorBytes
from latentcache.store.snapshots.column_tables import ColumnChange
from latentcache.store.snapshots.snapshot import Snapshot
from latentcache.store.store import Store
from latentcache.store.unit_check import num_non_finite
from latentcache.store.units.unit_writer import Provenance, UnitWriter
from latentcache.store.verification import VerifyReport, verify_snapshot
from tests.store import small_store
from tests.store.plan_rows import key_of


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "store"
    small_store.build(path)
    return path


@pytest.fixture
def snapshot(pristine: Path, tmp_path: Path) -> Snapshot:
    shutil.copytree(pristine, tmp_path / "store")
    return Store.open(tmp_path / "store").snapshot()


def path_of(snapshot: Snapshot, kind: str, index: int = 0) -> Path:
    entry = snapshot.column("latents").units()[index]
    if kind == "tar":
        return snapshot.folder.local_path(entry.tar.name)
    if kind == "meta":
        return snapshot.folder.local_path(entry.meta.name)
    written = UnitObject(entry.unit.unit, entry.rev, entry.write_id)
    return snapshot.folder.local_path(unit_object_name("latents", "f" * 32, "commits", written))


def only_damage(report: VerifyReport) -> tuple[UnitId | None, str]:
    assert not report.ok
    units = {damage.unit for damage in report.damaged}
    assert len(units) == 1, report.damaged
    for damage in report.damaged:
        assert "\n" not in damage.what
        assert not damage.what.endswith(".")
    return units.pop(), "; ".join(damage.what for damage in report.damaged)


def test_a_sound_snapshot_has_no_damage(snapshot: Snapshot) -> None:
    steps: list[tuple[int, int]] = []
    report = verify_snapshot(snapshot, on_progress=lambda *step: steps.append(step))
    assert report.ok
    assert report.damaged == ()
    assert (report.num_shards, report.num_samples) == (7, 34)
    assert steps == [(done, 8) for done in range(1, 9)]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 16
    path.write_bytes(data)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 0.7, 0.999])
@pytest.mark.parametrize("kind", ["tar", "meta", "commit"])
def test_a_flipped_bit_is_found_wherever_it_is(
    snapshot: Snapshot, kind: str, fraction: float
) -> None:
    path = path_of(snapshot, kind)
    flip(path, int(path.stat().st_size * fraction))
    if kind == "commit" and fraction not in (0.0, 0.999):
        # Inside free text (software, created) a commit may change and say the same.
        path.write_bytes(path.read_bytes()[:-20])
    unit, what = only_damage(verify_snapshot(snapshot))
    assert unit == UnitId(0, 0)
    assert kind in what


@pytest.mark.parametrize("kind", ["tar", "meta", "commit"])
def test_a_missing_object_is_found(snapshot: Snapshot, kind: str) -> None:
    path_of(snapshot, kind, 4).unlink()
    unit, what = only_damage(verify_snapshot(snapshot))
    assert unit == snapshot.column("latents").units()[4].unit.unit
    assert "missing" in what or "got none" in what


@pytest.mark.parametrize("keep", [0, 100, 512, 700, -1, -1024, -3000])
def test_a_truncated_tar_is_found(snapshot: Snapshot, keep: int) -> None:
    path = path_of(snapshot, "tar")
    data = path.read_bytes()
    path.write_bytes(data[:keep])
    unit, what = only_damage(verify_snapshot(snapshot))
    assert unit == UnitId(0, 0)
    assert f"tar has {len(data[:keep])} bytes, the commit says {len(data)}" in what


END = bytes(1024)


def members_of(data: bytes, count: int = 7) -> list[bytes]:
    stride = (len(data) - len(END)) // count
    return [data[slot * stride : (slot + 1) * stride] for slot in range(count)]


def recorded(snapshot: Snapshot, kind: str, change: Callable[[bytes], bytes]) -> Snapshot:
    """Damage an object and make commit and snapshot agree with it: a lie, well told."""
    store = Store.open(snapshot.folder.url)
    record = snapshot.column("latents").record
    entry = snapshot.column("latents").units()[0]
    path = path_of(snapshot, kind)
    data = change(path.read_bytes())
    path.write_bytes(data)
    commit_path = path_of(snapshot, "commit")
    values = json.loads(commit_path.read_bytes())
    values[kind]["size_bytes"] = len(data)
    values[kind]["sha256"] = hashlib.sha256(data).hexdigest()
    values["rev"] = 1
    written = UnitObject(entry.unit.unit, 1, entry.write_id)
    name = unit_object_name("latents", "f" * 32, "commits", written)
    store.folder.write(name, json.dumps(values).encode())
    change_ = ColumnChange(record=record, merge_statistics=small_store.count)
    return store.publish([change_])


def test_swapped_members_are_found_even_if_checksums_agree(snapshot: Snapshot) -> None:
    def swap(data: bytes) -> bytes:
        first, second, third, *rest = members_of(data)
        return b"".join([first, third, second, *rest]) + END

    lie = recorded(snapshot, "tar", swap)
    report = verify_snapshot(lie)
    assert [damage.key for damage in report.damaged] == [key_of(0, 2), key_of(0, 1)]
    assert report.damaged[0].what == "slot 1 holds row 2, meta says row 1"


def test_a_foreign_member_is_found_even_if_checksums_agree(snapshot: Snapshot) -> None:
    foreign = members_of(path_of(snapshot, "tar", 1).read_bytes(), 3)[0]

    def replace(data: bytes) -> bytes:
        return b"".join([foreign, *members_of(data)[1:]]) + END

    lie = recorded(snapshot, "tar", replace)
    report = verify_snapshot(lie)
    assert any("a key that the plan does not have here" in one.what for one in report.damaged)


def test_a_nan_is_found_even_if_checksums_agree(snapshot: Snapshot) -> None:
    def plant(data: bytes) -> bytes:
        # The first tensor after the header is int64 (widest), then float16 in name order.
        start = data.index(b"}}") // 8 * 8 + 8 + 16
        return data[:start] + b"\x00\x7e" + data[start + 2 :]

    (damage,) = verify_snapshot(recorded(snapshot, "tar", plant)).damaged
    assert damage.key == key_of(0, 0)
    assert damage.what == "logvar holds 1 values that are not finite"


def test_a_lost_member_is_found_even_if_checksums_agree(snapshot: Snapshot) -> None:
    def cut(data: bytes) -> bytes:
        return b"".join(members_of(data)[:6]) + END

    report = verify_snapshot(recorded(snapshot, "tar", cut))
    assert any("tar holds 6 members, meta has 7 rows present" in one.what for one in report.damaged)


def test_damage_is_found_in_several_units_at_once(snapshot: Snapshot) -> None:
    flip(path_of(snapshot, "tar", 0), 2000)
    path_of(snapshot, "tar", 1).unlink()
    flip(path_of(snapshot, "meta", 4), 400)
    report = verify_snapshot(snapshot)
    found = [snapshot.column("latents").units()[index].unit.unit for index in (0, 1, 4)]
    assert sorted({damage.unit for damage in report.damaged}) == found


def test_a_damaged_plan_is_found(snapshot: Snapshot) -> None:
    part = snapshot.generations[0].parts[0]
    path = snapshot.folder.local_path(part.name)
    flip(path, path.stat().st_size - 2)
    report = verify_snapshot(snapshot)
    assert any(part.name in damage.what and damage.unit is None for damage in report.damaged)


@pytest.mark.parametrize("table", ["units", "quarantine", "statistics"])
def test_a_damaged_snapshot_table_is_found(snapshot: Snapshot, table: str) -> None:
    ref = getattr(snapshot.column("latents").entry, table)
    flip(snapshot.folder.local_path(ref.name), 30)
    unit, what = only_damage(verify_snapshot(snapshot))
    assert unit is None
    assert what.startswith("snapshot table: table must have")


def unit_with(path: Path, fields: dict[str, np.ndarray], *declared: Field) -> VerifyReport:
    """Verify a store whose last unit's samples hold ``fields``, though others do not."""
    store = small_store.make_store(path)
    (generation,) = store.generations()
    record = store.write_encoding(
        small_store.encoding_record(fields=declared, fingerprint="e" * 32)
    )
    provenance = Provenance(generation_digest=generation.digest, software={})
    for unit in store.units(record):
        keys = store.read_rows(unit, ["key"])["key"].to_pylist()
        is_last = unit.unit == UnitId(4, 0)
        with UnitWriter(store.folder, record, unit, provenance=provenance) as writer:
            for row, key in enumerate(keys, unit.first_row):
                good = {"z": np.zeros((2, 4, 4), np.float32)}
                writer.add(row, key, fields if is_last else good, bytes(16))
            writer.finish({"mean.first.count": np.array(1)})
    change = ColumnChange(record=record, merge_statistics=small_store.count)
    return verify_snapshot(store.publish([change]))


Z = Field(name="z", kind="point", axes="CHW", channels=2, dtype="float32")


def test_another_number_of_channels_is_found(tmp_path: Path) -> None:
    report = unit_with(tmp_path / "s", {"z": np.zeros((3, 4, 4), np.float32)}, Z)
    assert report.damaged[0].what == "z has shape (3, 4, 4), the encoding has 2 channels"


def test_another_number_of_axes_is_found(tmp_path: Path) -> None:
    report = unit_with(tmp_path / "s", {"z": np.zeros((2, 16), np.float32)}, Z)
    assert report.damaged[0].what == "z is float32 (2, 16), the encoding has float32 CHW"


def test_two_shapes_in_one_bucket_are_found(tmp_path: Path) -> None:
    report = unit_with(tmp_path / "s", {"z": np.zeros((2, 4, 5), np.float32)}, Z)
    (damage,) = report.damaged
    assert damage.unit == UnitId(4, 0)
    assert "samples of 1x32x96 are" in damage.what


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_non_finite_values_are_counted_by_their_bits(dtype: str) -> None:
    raw = np.arange(65536 if "16" in dtype else 256, dtype="u2" if "16" in dtype else "u1")
    tensor = TensorBytes(dtype, raw.shape, raw.tobytes())
    with np.errstate(invalid="ignore"):
        expected = int((~np.isfinite(tensor.to_numpy_float32())).sum())
    assert num_non_finite(tensor) == expected > 0
