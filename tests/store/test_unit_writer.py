"""A unit exists when its commit does, and then every byte of it was checked."""

import hashlib
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcache.core.errors import ShardCorruptError
from latentcache.core.fields import Field
from latentcache.core.media import Bucket
from latentcache.core.rejects import Reject
from latentcache.core.units import UnitId, UnitRange
from latentcache.storage import Folder, StorageError
from latentcache.store.format.records import BatchRule, Commit, EncodingRecord, UnitEntry
from latentcache.store.format.unit_meta import read_meta
from latentcache.store.format.write_check import STALE_AFTER_S
from latentcache.store.units.unit_reader import iter_unit, read_row
from latentcache.store.units.unit_writer import Provenance, UnitWriter

UNIT = UnitRange(unit=UnitId(3, 1), generation=0, bucket=Bucket(1, 32, 32), first_row=4, num_rows=4)
PROVENANCE = Provenance(generation_digest="ab" * 32, software={"latentcache": "0"})
STATISTICS = {"mean.first.count": np.array([48.0])}
BROKEN = Reject(code="truncated", stage="decode", reason="the pixels end early")


def encoding(*fields: Field) -> EncodingRecord:
    mean = Field(name="mean", kind="mean", axes="CHW", channels=4, dtype="float16")
    return EncodingRecord(
        write_id="0" * 16,
        column="latents",
        fingerprint="f" * 32,
        identity={},
        spec={},
        fields=fields or (mean,),
        normalizer=None,
        policy="mode",
        transform={},
        rows_per_unit=4,
        batch=BatchRule(pixels=4096, max=8),
        threads=1,
        device_type="cpu",
        probe={},
    )


def values(row: int) -> np.ndarray:
    return np.random.default_rng(row).normal(size=(4, 4, 4)).astype(np.float16)


def digest(row: int) -> bytes:
    return hashlib.sha256(str(row).encode()).digest()[:16]


def write_unit(folder: Folder, *, rejected: frozenset[int] = frozenset({6}), **options) -> Commit:
    with UnitWriter(folder, encoding(), UNIT, provenance=PROVENANCE, **options) as writer:
        for row in range(4, 8):
            if row in rejected:
                writer.reject(row, BROKEN, digest(row))
            else:
                writer.add(row, f"{row:020x}", {"mean": values(row)}, digest(row))
        return writer.finish(STATISTICS)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path / "store")


def names(folder: Folder) -> list[str]:
    return sorted(info.name for info in folder.list(with_temporary=True))


def test_a_finished_unit_is_three_objects_and_no_scratch(folder: Folder) -> None:
    commit = write_unit(folder)
    assert names(folder) == sorted(
        [
            commit.tar.name,
            commit.meta.name,
            f"encodings/latents/{'f' * 32}/commits/00000003-0001.0.{commit.write_id}.json",
        ]
    )
    assert (commit.num_rows, commit.num_present, commit.num_rejected) == (4, 3, 1)
    for ref in (commit.tar, commit.meta):
        data = folder.read(ref.name)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (ref.size_bytes, ref.sha256)
    stored = folder.read(names(folder)[0])
    assert Commit.parse(stored, where="t") == commit


def test_meta_says_which_rows_are_present_and_why_the_others_are_not(folder: Folder) -> None:
    commit = write_unit(folder)
    meta = read_meta(folder.read(commit.meta.name), first_row=4, num_rows=4, where="t")
    assert meta.rows_present.tolist() == [4, 5, 7]
    assert meta.rejects == ((6, BROKEN),)
    assert meta.source_digest[2].tobytes() == digest(6)
    assert [meta.slot_of(row) for row in range(3, 9)] == [None, 0, 1, None, 2, None]
    np.testing.assert_array_equal(meta.statistics["mean.first.count"], [48.0])
    tar = folder.read(commit.tar.name)
    for slot, row in enumerate((4, 5, 7)):
        start = meta.layout.first_payload + slot * meta.layout.stride
        payload = tar[start : start + meta.layout.payload_bytes]
        np.testing.assert_array_equal(np.frombuffer(payload, np.float16), values(row).ravel())


def test_equal_content_gives_equal_bytes_whoever_writes(folder: Folder, tmp_path: Path) -> None:
    here, there = write_unit(folder), write_unit(folder, rev=3, scratch=tmp_path / "scratch")
    assert here.tar.name != there.tar.name
    assert here.tar.sha256 == there.tar.sha256
    assert here.meta.sha256 == there.meta.sha256


def test_a_unit_without_samples_has_no_tar(folder: Folder) -> None:
    commit = write_unit(folder, rejected=frozenset(range(4, 8)))
    assert commit.tar is None
    assert not any(name.endswith(".tar") for name in names(folder))
    meta = read_meta(folder.read(commit.meta.name), first_row=4, num_rows=4, where="t")
    assert meta.layout is None
    assert meta.offsets is None
    assert len(meta.rejects) == 4


def test_members_of_varying_size_are_found_by_offsets(folder: Folder) -> None:
    record = encoding(Field(name="tokens", kind="point", axes="NC", channels=2, dtype="float32"))
    with UnitWriter(folder, record, UNIT, provenance=PROVENANCE) as writer:
        for row in range(4, 8):
            fields = {"tokens": np.full((row, 2), row, np.float32)}
            writer.add(row, f"{row:020x}", fields, digest(row))
        commit = writer.finish({})
    meta = read_meta(folder.read(commit.meta.name), first_row=4, num_rows=4, where="t")
    assert meta.layout is None
    assert meta.offsets.shape == (4, 2)


def test_a_row_neither_added_nor_rejected_is_noticed(folder: Folder) -> None:
    with UnitWriter(folder, encoding(), UNIT, provenance=PROVENANCE) as writer:
        writer.add(4, "0" * 20, {"mean": values(4)}, digest(4))
        with pytest.raises(AssertionError, match="got 3 neither"):
            writer.finish({})
    assert names(folder) == []


@pytest.mark.parametrize("row", [3, 8, 4])
def test_a_row_of_another_unit_or_a_second_time_is_noticed(folder: Folder, row: int) -> None:
    with UnitWriter(folder, encoding(), UNIT, provenance=PROVENANCE) as writer:
        writer.reject(4, BROKEN)
        with pytest.raises(AssertionError):
            writer.reject(row, BROKEN)


def test_fields_must_be_those_of_the_record(folder: Folder) -> None:
    with UnitWriter(folder, encoding(), UNIT, provenance=PROVENANCE) as writer:
        for wrong in (
            {"mean": values(4).astype(np.float32)},
            {"mean": values(4), "logvar": values(4)},
            {},
        ):
            with pytest.raises(ValueError, match="the encoder does not keep to its own record"):
                writer.add(4, "0" * 20, wrong, digest(4))
        # A row that was refused may still be rejected.
        writer.reject(4, BROKEN)


class FailingFolder(Folder):
    """A folder whose n-th write or read-back fails, or lands damaged."""

    def arm(self, step: int, harm: Callable[[Path], None] | None = None) -> None:
        object.__setattr__(self, "steps", [step])
        object.__setattr__(self, "harm", harm)

    def _step(self) -> bool:
        self.steps[0] -= 1
        if self.steps[0] == 0 and self.harm is None:
            raise OSError(5, "the cable fell out")
        return self.steps[0] == 0

    def write(self, name: str, data: bytes) -> None:
        is_hit = self._step()
        super().write(name, data)
        if is_hit:
            self.harm(self.local_path(name))

    def upload(self, name: str, path: Path) -> None:
        is_hit = self._step()
        super().upload(name, path)
        if is_hit:
            self.harm(self.local_path(name))

    def stat(self, name: str):
        if self.harm is None:
            self._step()
        return super().stat(name)

    def open_read(self, name: str):
        if self.harm is None:
            self._step()
        return super().open_read(name)


def commits(folder: Folder) -> list[str]:
    return [name for name in names(folder) if "/commits/" in name]


@pytest.mark.parametrize("step", range(1, 8))
def test_a_failure_at_any_step_of_finish_leaves_no_commit(tmp_path: Path, step: int) -> None:
    # upload, stat and read back of the tar; the same of the meta; the commit.
    folder = FailingFolder(str(tmp_path / "store"))
    folder.arm(step)
    with pytest.raises(OSError, match="the cable fell out"):
        write_unit(folder)
    assert commits(folder) == []
    assert not any(info.is_temporary for info in folder.list(with_temporary=True))
    folder.arm(0)
    assert write_unit(folder).num_present == 3
    assert len(commits(folder)) == 1


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [truncate, flip, Path.unlink])
@pytest.mark.parametrize("step", [1, 2], ids=["tar", "meta"])
def test_what_landed_damaged_is_not_committed(
    tmp_path: Path, step: int, harm: Callable[[Path], None]
) -> None:
    folder = FailingFolder(str(tmp_path / "store"))
    folder.arm(step, harm)
    with pytest.raises(ShardCorruptError, match=r"object must be .* after writing, got"):
        write_unit(folder)
    assert commits(folder) == []


def test_an_upload_older_than_half_a_grace_is_done_again(folder: Folder) -> None:
    times = iter([0.0, STALE_AFTER_S, STALE_AFTER_S, STALE_AFTER_S + 1])
    with UnitWriter(folder, encoding(), UNIT, provenance=PROVENANCE) as writer:
        for row in range(4, 8):
            writer.add(row, f"{row:020x}", {"mean": values(row)}, digest(row))
        writer._clock = lambda: next(times)
        commit = writer.finish({})
    tars = [name for name in names(folder) if name.endswith(".tar")]
    assert len(tars) == 2
    assert commit.tar.name in tars
    assert len(commits(folder)) == 1


def test_an_abandoned_unit_leaves_nothing(folder: Folder) -> None:
    with UnitWriter(folder, encoding(), UNIT, provenance=PROVENANCE) as writer:
        writer.add(4, "0" * 20, {"mean": values(4)}, digest(4))
        assert len(names(folder)) == 1
    assert names(folder) == []


def test_a_second_reader_sees_nothing_before_the_commit(folder: Folder) -> None:
    with UnitWriter(folder, encoding(), UNIT, provenance=PROVENANCE) as writer:
        for row in range(4, 8):
            writer.add(row, f"{row:020x}", {"mean": values(row)}, digest(row))
        assert list(folder.list()) == []
        writer.finish({})
    assert len(list(folder.list())) == 3


def test_a_full_disk_is_one_sentence_and_leaves_nothing(folder: Folder) -> None:
    record = encoding(Field(name="mean", kind="mean", axes="N", channels=None, dtype="uint8"))
    large = {"mean": np.zeros(3 * 2**20, np.uint8)}

    def write() -> None:
        with UnitWriter(folder, record, UNIT, provenance=PROVENANCE) as writer:
            for row in range(4, 8):
                writer.add(row, f"{row:020x}", large, digest(row))
            writer.finish({})

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The nearest thing to a full disk that needs no disk: files may not grow further.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 2**20, hard))
    try:
        with pytest.raises(StorageError, match=r"destination must .*; ") as raised:
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(raised.value)
    assert names(folder) == []


@settings(max_examples=40, deadline=None)
@given(
    shapes=st.lists(
        st.none() | st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6
    ),
    first_row=st.sampled_from([0, 8]),
)
def test_any_mix_of_rows_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    shapes: list[tuple[int, int] | None],
    first_row: int,
) -> None:
    """A shape is a sample, None a reject."""
    folder = Folder.open(tmp_path_factory.mktemp("store"))
    record = encoding(Field(name="tokens", kind="point", axes="NC", channels=None, dtype="int16"))
    unit = UnitRange(
        unit=UnitId(0, first_row // 8),
        generation=0,
        bucket=Bucket(1, 32, 32),
        first_row=first_row,
        num_rows=len(shapes),
    )
    draw = np.random.default_rng(0)
    expected: dict[int, np.ndarray] = {}
    with UnitWriter(folder, record, unit, provenance=PROVENANCE) as writer:
        for row, shape in enumerate(shapes, first_row):
            if shape is None:
                writer.reject(row, BROKEN)
            else:
                expected[row] = draw.integers(-9, 9, shape).astype(np.int16)
                writer.add(row, f"{row:020x}", {"tokens": expected[row]}, digest(row))
        commit = writer.finish({})
    entry = UnitEntry(
        unit=unit,
        rev=0,
        write_id=commit.write_id,
        num_present=commit.num_present,
        tar=commit.tar,
        meta=commit.meta,
    )
    samples = list(iter_unit(folder, entry, column="latents"))
    assert [sample.row for sample in samples] == list(expected)
    for sample in samples:
        np.testing.assert_array_equal(sample.fields["tokens"], expected[sample.row])
        assert sample.fields["tokens"].shape == expected[sample.row].shape
        one = read_row(folder, entry, row=sample.row, column="latents")
        assert one.key == sample.key == f"{sample.row:020x}"
