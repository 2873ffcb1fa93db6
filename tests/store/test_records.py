"""Records come back as they were written, and anything else is refused with both sides shown."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import StoreError
from latentcache.core.fields import Field
from latentcache.core.fingerprint import sha256_hex
from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun, UnitId
from latentcache.store.format import object_names as layout
from latentcache.store.format.envelope import MAX_DEPTH, Record
from latentcache.store.format.records import (
    AnnotationEntry,
    BatchRule,
    ColumnEntry,
    Commit,
    EncodingRecord,
    Generation,
    ObjectRef,
    PlanPart,
    RecordRef,
    SnapshotRecord,
    StoreRecord,
    TableRef,
)

TABLE = TableRef(name="snapshots/1.x.parquet", size_bytes=7, sha256="ab", num_rows=3)
OBJECT = ObjectRef(name="encodings/l/f/meta/x", size_bytes=9, sha256="cd")


def records() -> list[Record]:
    run = BucketRun(bucket=Bucket(1, 256, 320), first_shard=4, num_rows=10, rows_per_shard=4)
    part = PlanPart(name="p", size_bytes=1, sha256="ab", num_rows=10, first_shard=4, num_shards=3)
    generation = Generation(
        write_id="a" * 16,
        number=1,
        parent="ff",
        corpus_url="s3://photos",
        corpus_kind="folder",
        options={"resolution": 256, "steps": [1, 2], "nested": {"x": None}},
        options_digest="00",
        seed=-3,
        runs=(run,),
        parts=(part,),
        rejects=TABLE,
        retired=None,
        totals={"listed": 12, "ignored": {"txt": 2}},
    )
    encoding = EncodingRecord(
        write_id="b" * 16,
        column="latents",
        fingerprint="f" * 32,
        identity={"impl": "x"},
        spec={"name": "dct"},
        fields=(
            Field(name="mean", kind="mean", axes="CHW", channels=4, dtype="bfloat16"),
            Field(name="i", kind="indices", axes="HW", channels=None, dtype="int64"),
        ),
        normalizer={"ops": [{"values": [0.1, 1e-30]}]},
        policy="moments",
        transform={"version": 1},
        rows_per_unit=8,
        batch=BatchRule(pixels=2**20, max=16),
        threads=1,
        device_type="cpu",
        probe={"mean": [0.1]},
    )
    commit = Commit(
        write_id="c" * 16,
        unit="00000003-0001",
        rev=2,
        column="latents",
        fingerprint="f" * 32,
        encoding_digest=encoding.digest,
        generation=1,
        generation_digest=generation.digest,
        num_rows=4,
        num_present=0,
        num_rejected=4,
        tar=None,
        meta=OBJECT,
        software={"torch": "2"},
        created="2026-01-01T00:00:00+00:00",
    )
    entry = ColumnEntry(
        fingerprint="f" * 32,
        encoding_digest="e",
        units=TABLE,
        quarantine=TABLE,
        statistics=TABLE,
        num_generations=2,
        num_planned=3,
        num_encoded=1,
        num_quarantined=1,
        num_missing=1,
        num_bytes=5,
    )
    caption = AnnotationEntry(name="annotations/c/x", size_bytes=1, sha256="s", generation=0)
    snapshot = SnapshotRecord(
        write_id="d" * 16,
        number=2,
        store_id="5" * 16,
        parent=RecordRef(number=1, digest="77"),
        generations=(RecordRef(number=0, digest="g0"), RecordRef(number=1, digest="g1")),
        columns={"latents": entry, "dino": entry},
        annotations={"caption": (caption,)},
        created="2026-01-01T00:00:00+00:00",
    )
    return [
        StoreRecord(write_id="e" * 16, store_id="e" * 16),
        generation,
        encoding,
        commit,
        snapshot,
    ]


@pytest.mark.parametrize("record", records(), ids=lambda record: record.kind)
def test_a_record_comes_back_as_it_was_written(record: Record) -> None:
    data = record.to_bytes()
    parsed = type(record).parse(data, where="x")
    assert parsed == record
    assert parsed.to_bytes() == data
    assert parsed.digest == record.digest == sha256_hex(data)
    assert json.loads(data)["write_id"] == record.write_id


@pytest.mark.parametrize("record", records(), ids=lambda record: record.kind)
def test_the_digest_is_of_the_bytes_in_the_store(record: Record) -> None:
    spaced = json.dumps(json.loads(record.to_bytes()), indent=1).encode()
    assert type(record).parse(spaced, where="x").digest == sha256_hex(spaced)


@pytest.mark.parametrize("record", records(), ids=lambda record: record.kind)
def test_another_format_version_is_refused_with_both_shown(record: Record) -> None:
    values = {**json.loads(record.to_bytes()), "format": 2, "more": 1}
    with pytest.raises(StoreError, match=r"store format must be 1, got 2 \(a/b\.json\)"):
        type(record).parse(json.dumps(values).encode(), where="a/b.json")


@pytest.mark.parametrize("record", records(), ids=lambda record: record.kind)
@given(choice=st.integers(0, 10**6), change=st.sampled_from(["drop", "type", "add"]))
def test_a_record_that_is_not_quite_right_is_refused(
    record: Record, choice: int, change: str
) -> None:
    values = json.loads(record.to_bytes())
    keys = sorted(key for key in values if key not in ("format", "kind"))
    key = keys[choice % len(keys)]
    if change == "drop":
        del values[key]
    elif change == "type":
        values[key] = 1.5
    else:
        values["unheard_of"] = 1
    with pytest.raises(StoreError, match="a/b"):
        type(record).parse(json.dumps(values).encode(), where="a/b")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"a":1}', b"{}" * 9])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError, match="must be a JSON object with a format version"):
        Commit.parse(data, where="x")


@pytest.mark.parametrize("depth", [MAX_DEPTH, 900, 200_000])
@pytest.mark.parametrize("mark", ["[]", "{}"])
def test_a_record_nested_without_end_is_one_sentence(depth: int, mark: str) -> None:
    opening, closing = ("[", "]") if mark == "[]" else ('{"a":', "}")
    inner = opening * depth + "1" + closing * depth
    data = b'{"format":1,"kind":"store","store_id":' + inner.encode() + b',"write_id":"e"}'
    with pytest.raises(StoreError, match="nested at most 64 levels deep"):
        StoreRecord.parse(data, where="latentcache.json")


def test_one_kind_is_not_taken_for_another() -> None:
    with pytest.raises(StoreError, match="must be of kind 'commit', got 'store'"):
        Commit.parse(records()[0].to_bytes(), where="x")


@given(pixels=st.integers(1, 2**30), most=st.integers(1, 512), edge=st.integers(1, 4096))
def test_a_batch_fits_its_pixels_or_is_one(pixels: int, most: int, edge: int) -> None:
    bucket = Bucket(1, edge, edge)
    size = BatchRule(pixels=pixels, max=most).size(bucket)
    assert 1 <= size <= most
    assert size == 1 or size * bucket.num_pixels <= pixels
    fitting = pixels // bucket.num_pixels
    if size not in (1, most):
        assert size & (size - 1) == 0
        assert fitting < 2 * size


@given(st.integers(0, 99_999_999), st.integers(0, 9999), st.integers(0, 99))
def test_a_unit_objects_name_says_what_it_is(shard: int, part: int, rev: int) -> None:
    written = layout.UnitObject(UnitId(shard, part), rev, "0123456789abcdef")
    for kind in ("shards", "meta", "commits"):
        name = layout.unit_object_name("latents", "f" * 32, kind, written)
        assert layout.parse_unit_object(name) == written
        assert layout.is_collectable(name)


@pytest.mark.parametrize(
    "name",
    ["latentcache.json", "plan/0.json", "snapshots/1.json", "notes.txt", "snapshots/my.parquet"],
)
def test_gc_never_takes_a_record_or_what_it_does_not_know(name: str) -> None:
    assert not layout.is_collectable(name)


@pytest.mark.parametrize("column", ["", "Latents", "a/b", "..", "1x", "a-b", "x" * 65])
def test_a_column_name_is_plain(column: str) -> None:
    with pytest.raises(StoreError, match="column must be lower-case"):
        layout.encoding_name(column, "f")


def test_numbers_are_told_from_names() -> None:
    assert layout.parse_snapshot_name(layout.snapshot_name(12)) == 12
    assert layout.parse_snapshot_name(layout.tombstone_name(12)) is None
    assert layout.parse_tombstone_name(layout.tombstone_name(12)) == 12
    assert layout.parse_snapshot_name(layout.snapshot_table_name(1, "a", "units", "0" * 16)) is None
