"""Makes tests/golden/format1: a store of format 1 that must stay readable for ever.

Run ``python -m tests.golden.make_format1`` only when format 1 itself was wrong; a later
format gets a folder of its own. All numbers are integer arithmetic, so every machine and
numpy release makes the same ones.
"""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from latentcache.core.fields import Field
from latentcache.core.media import Bucket, SourceRef, sample_key
from latentcache.core.rejects import Reject
from latentcache.core.units import BucketRun, UnitRange
from latentcache.store.format.records import BatchRule, Commit, EncodingRecord
from latentcache.store.format.tensors import TensorBytes
from latentcache.store.rows.plan_draft import GenerationDraft
from latentcache.store.rows.plan_tables import PLAN_SCHEMA, REJECTS_SCHEMA
from latentcache.store.snapshots.column_tables import ColumnChange
from latentcache.store.store import Store
from latentcache.store.units.unit_writer import Provenance, UnitWriter

GOLDEN = Path(__file__).parent / "format1"

SQUARE, WIDE = Bucket(1, 32, 32), Bucket(1, 32, 64)
RUNS = (
    BucketRun(bucket=SQUARE, first_shard=0, num_rows=6, rows_per_shard=4),
    BucketRun(bucket=WIDE, first_shard=2, num_rows=2, rows_per_shard=4),
)
REJECTED = {(0, 1), (1, 0), (1, 1)}
"""One among others, and a whole unit."""

REJECT = Reject(
    code="truncated", stage="decode", reason="the pixels end early", trace_digest="0123456789abcdef"
)
LATENT_FIELDS = (
    Field(name="mean", kind="mean", axes="CHW", channels=4, dtype="bfloat16"),
    Field(name="logvar", kind="logvar", axes="CHW", channels=4, dtype="float16"),
)
EMBED_FIELDS = (Field(name="tokens", kind="point", axes="NC", channels=8, dtype="float32"),)


def places() -> list[tuple[BucketRun, int, int]]:
    """Return (run, shard, row) of every planned row."""
    return [
        (run, shard, row)
        for run in RUNS
        for shard in range(run.first_shard, run.first_shard + run.num_shards)
        for row in range(run.rows_in_shard(shard))
    ]


def path_of(shard: int, row: int) -> str:
    return f"möwen/{shard}-{row}.jpg"


def key_of(shard: int, row: int) -> str:
    return sample_key(SourceRef(path=path_of(shard, row)))


def picture(bucket: Bucket, shard: int, row: int) -> np.ndarray:
    """Return a drawn picture: int64 (H, W, 3) in 0 to 255, a gradient with a disc on it."""
    y, x = np.mgrid[: bucket.height_px, : bucket.width_px].astype(np.int64)
    colour = np.array([37 * shard + 11, 53 * row + 5, 91])
    gradient = (x[..., None] * 3 + y[..., None] * 5 + colour) % 256
    disc = (x - 8 - 3 * row) ** 2 + (y - 16) ** 2 < 64
    return np.where(disc[..., None], 255 - gradient, gradient)


def latents(bucket: Bucket, shard: int, row: int) -> dict[str, np.ndarray | TensorBytes]:
    """Return the means of 8x8 cells per colour and of all, in steps that bf16 holds."""
    cells = picture(bucket, shard, row).reshape(bucket.height_px // 8, 8, -1, 8, 3).sum((1, 3))
    four = np.concatenate([cells, cells.sum(-1, keepdims=True) // 3], axis=-1)
    steps = (np.moveaxis(four, -1, 0) // 64).astype(np.float32) - 128
    bits = (steps.view(np.uint32) >> 16).astype(np.uint16)
    return {
        "mean": TensorBytes("bfloat16", steps.shape, bits.tobytes()),
        "logvar": (-steps / 64).astype(np.float16),
    }


def embeds(bucket: Bucket, shard: int, row: int) -> dict[str, np.ndarray | TensorBytes]:
    """Return as many tokens as the row's number says, so that sizes vary."""
    del bucket
    return {"tokens": np.arange((row + 1) * 8, dtype=np.float32).reshape(-1, 8) + 100 * shard}


COLUMNS = {"latents": (LATENT_FIELDS, latents), "embeds": (EMBED_FIELDS, embeds)}


def plan_rows() -> pa.Table:
    rows = [
        {
            "key": key_of(shard, row),
            "shard": shard,
            "row": row,
            "bucket": str(run.bucket),
            "path": path_of(shard, row),
            "member": "",
            "offset_bytes": -1,
            "size_bytes": 1000 + row,
            "version": "1",
            "source_width_px": 2 * run.bucket.width_px,
            "source_height_px": 2 * run.bucket.height_px,
            "resized_width_px": run.bucket.width_px,
            "resized_height_px": run.bucket.height_px,
            "crop_left_px": 0,
            "crop_top_px": 0,
            "is_animated": False,
        }
        for run, shard, row in places()
    ]
    return pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)


def refused() -> pa.Table:
    reject = Reject(code="empty", stage="scan", reason="the file holds no bytes")
    row = {name: getattr(reject, name) for name in Reject.__dataclass_fields__}
    source = {"path": "leer.jpg", "member": "", "size_bytes": 0, "version": "1"}
    key = sample_key(SourceRef(path="leer.jpg"))
    return pa.Table.from_pylist([{"key": key, **source, **row}], schema=REJECTS_SCHEMA)


def captions() -> pa.Table:
    rows = [
        {"shard": shard, "row": row, "value": f"Möwe {row}"} for _, shard, row in places() if row
    ]
    return pa.Table.from_pylist(rows)


def record_of(column: str) -> EncodingRecord:
    return EncodingRecord(
        write_id="0" * 16,
        column=column,
        fingerprint=hashlib.sha256(column.encode()).hexdigest()[:32],
        identity={"impl": "golden", "column": column},
        spec={"name": "golden"},
        fields=COLUMNS[column][0],
        normalizer=None,
        policy="moments",
        transform={"version": 1},
        rows_per_unit=4,
        batch=BatchRule(pixels=4096, max=4),
        threads=1,
        device_type="cpu",
        probe={},
    )


def write_unit(store: Store, record: EncodingRecord, unit: UnitRange) -> Commit:
    """Write one unit the way a run does."""
    make = COLUMNS[record.column][1]
    digest = store.generations()[unit.generation].digest
    provenance = Provenance(generation_digest=digest, software={"latentcache": "golden"})
    shard = unit.unit.shard
    with UnitWriter(store.folder, record, unit, provenance=provenance) as writer:
        for row in range(unit.first_row, unit.first_row + unit.num_rows):
            source = hashlib.sha256(path_of(shard, row).encode()).digest()[:16]
            if (shard, row) in REJECTED:
                writer.reject(row, REJECT, source)
            else:
                writer.add(row, key_of(shard, row), make(unit.bucket, shard, row), source)
        rows = np.array([unit.first_row, unit.num_rows], np.int64)
        return writer.finish({"rows": rows, "half": np.array(0.5)})


def merge(parts: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {"rows": np.sum([part["rows"] for part in parts], axis=0)}


def make(path: Path) -> Store:
    """Write the whole store at ``path``."""
    store = Store.create(path)
    draft = GenerationDraft(
        corpus_url="golden",
        corpus_kind="folder",
        options={"resolution": 32},
        seed=1,
        runs=RUNS,
        rows=[plan_rows()],
        rejects=[refused()],
        totals={"listed": 9, "bytes": 9000, "ignored": {".txt": 2}},
    )
    generation = store.write_generation(draft)
    store.write_annotations(generation, "caption", [captions()])
    changes = []
    for column in COLUMNS:
        record = store.write_encoding(record_of(column))
        for unit in store.units(record):
            write_unit(store, record, unit)
        changes.append(ColumnChange(record=record, merge_statistics=merge))
    store.publish(changes)
    return store


if __name__ == "__main__":
    shutil.rmtree(GOLDEN, ignore_errors=True)
    make(GOLDEN)
