"""A small store for tests: 41 planned rows in two buckets, some rejected, made by the writers."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from latentcache.core.fields import Field
from latentcache.core.media import Bucket
from latentcache.core.rejects import Reject
from latentcache.core.units import BucketRun, UnitRange
from latentcache.store.format.records import BatchRule, Commit, EncodingRecord, Generation
from latentcache.store.format.tensors import TensorBytes
from latentcache.store.snapshots.column_tables import ColumnChange
from latentcache.store.snapshots.snapshot import Snapshot
from latentcache.store.store import Store
from latentcache.store.units.unit_writer import Provenance, UnitWriter
from tests.store.plan_rows import draft_of, reject_table, runs_of

SQUARE, WIDE = Bucket(1, 64, 64), Bucket(1, 32, 96)
RUNS: tuple[BucketRun, ...] = runs_of((SQUARE, 27, 12), (WIDE, 14, 12))
ROWS_PER_UNIT = 8
REJECTED = {(0, 3), (0, 11), *((1, row) for row in range(8, 12)), (4, 0)}
"""One in the middle, one last, a whole unit, one first."""

TRUNCATED = Reject(
    code="truncated", stage="decode", reason="the pixels end early", trace_digest="0123456789abcdef"
)
FIELDS = (
    Field(name="mean", kind="mean", axes="CHW", channels=4, dtype="bfloat16"),
    Field(name="logvar", kind="logvar", axes="CHW", channels=4, dtype="float16"),
    Field(name="tag", kind="aux", axes="N", channels=None, dtype="int64"),
)


def encoding_record(**changes: object) -> EncodingRecord:
    values: dict[str, object] = {
        "write_id": "0" * 16,
        "column": "latents",
        "fingerprint": "f" * 32,
        "identity": {"impl": "drawn"},
        "spec": {},
        "fields": FIELDS,
        "normalizer": None,
        "policy": "moments",
        "transform": {},
        "rows_per_unit": ROWS_PER_UNIT,
        "batch": BatchRule(pixels=4096, max=8),
        "threads": 1,
        "device_type": "cpu",
        "probe": {},
    }
    return EncodingRecord(**{**values, **changes})


def bfloat16(values: np.ndarray) -> TensorBytes:
    """Return values whose bits end in zeros anyway as bfloat16."""
    bits = (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return TensorBytes("bfloat16", values.shape, bits.tobytes())


def mean_of(bucket: Bucket, shard: int, row: int) -> np.ndarray:
    """Return numbers that bfloat16 holds exactly."""
    draw = np.random.default_rng((shard, row))
    shape = (4, bucket.height_px // 8, bucket.width_px // 8)
    return draw.integers(-128, 128, shape).astype(np.float32) / 16


def fields_of(bucket: Bucket, shard: int, row: int) -> dict[str, np.ndarray | TensorBytes]:
    mean = mean_of(bucket, shard, row)
    return {
        "mean": bfloat16(mean),
        "logvar": (mean / 4).astype(np.float16),
        "tag": np.array([shard, row], np.int64),
    }


def write_unit(
    store: Store,
    record: EncodingRecord,
    generation: Generation,
    unit: UnitRange,
    *,
    rejected: Iterable[tuple[int, int]] = frozenset(REJECTED),
    rev: int = 0,
) -> Commit:
    provenance = Provenance(generation_digest=generation.digest, software={"latentcache": "0"})
    keys = store.read_rows(unit, ["key"])["key"].to_pylist()
    shard, refused = unit.unit.shard, set(rejected)
    with UnitWriter(store.folder, record, unit, provenance=provenance, rev=rev) as writer:
        for row, key in enumerate(keys, unit.first_row):
            digest = hashlib.sha256(key.encode()).digest()[:16]
            if (shard, row) in refused:
                writer.reject(row, TRUNCATED, digest)
            else:
                writer.add(row, key, fields_of(unit.bucket, shard, row), digest)
        present = unit.num_rows - sum(
            (shard, row) in refused for row in range(unit.first_row, unit.first_row + unit.num_rows)
        )
        return writer.finish({"mean.first.count": np.array(present, np.int64)})


def count(parts: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Merge the one statistic there is."""
    return {"mean.first.count": np.sum([part["mean.first.count"] for part in parts])}


def make_store(path: Path) -> Store:
    """Return a store with a plan, a pinned encoding and no unit."""
    store = Store.create(path)
    store.write_generation(draft_of(RUNS, rejects=[reject_table("empty.jpg")]))
    store.write_encoding(encoding_record())
    return store


def build(path: Path) -> Snapshot:
    """Return the first snapshot of a complete store."""
    store = make_store(path)
    (generation,) = store.generations()
    record = store.read_encoding("latents", "f" * 32)
    for unit in store.units(record):
        write_unit(store, record, generation, unit)
    return store.publish([ColumnChange(record=record, merge_statistics=count)])
