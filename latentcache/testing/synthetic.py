"""Stores of drawn latents, made by the real writers: for loaders, benchmarks and tests.

Values are a function of (seed, column, unit): ``unit_values`` draws a unit again, so that
any batch can be checked.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.fields import Field
from latentcache.core.fingerprint import fingerprint
from latentcache.core.media import Bucket, SourceRef, sample_key
from latentcache.core.rejects import Reject
from latentcache.core.seeds import keyed_uint64, new_write_id
from latentcache.core.units import BucketRun, UnitRange
from latentcache.stats import UnitStatistics, merge_arrays
from latentcache.store import (
    BatchRule,
    ColumnChange,
    EncodingRecord,
    Generation,
    GenerationDraft,
    Provenance,
    Snapshot,
    Store,
    TensorBytes,
    UnitWriter,
)
from latentcache.store.rows import PLAN_SCHEMA

SPATIAL_FACTOR, TEMPORAL_FACTOR = 8, 4
_ROWS_PER_TABLE = 65_536
_REJECT = Reject(code="truncated", stage="decode", reason="the pixels end early")

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticColumn:
    """What a column of drawn samples holds.

    Attributes:
        name: Of the column.
        channels: C.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        has_logvar: Store a posterior, ``mean`` and ``logvar``, instead of a point ``z``.
        is_video: Samples are CTHW, images with T = 1, and not CHW.
        spatial_factor: Pixels per latent cell.
        temporal_factor: Frames per latent frame, but for the first.
        seed: Of the values; part of the fingerprint, as weights are.
        rows_per_unit: R, a power of two.
        rejected: (shard, row) pairs that go into quarantine.
        normalizer: Published operations, or None.
    """

    name: str = "latents"
    channels: int = 4
    dtype: str = "float16"
    has_logvar: bool = False
    is_video: bool = False
    spatial_factor: int = SPATIAL_FACTOR
    temporal_factor: int = TEMPORAL_FACTOR
    seed: int = 0
    rows_per_unit: int = 1 << 20
    rejected: frozenset[tuple[int, int]] = frozenset()
    normalizer: Mapping[str, Any] | None = field(default=None, hash=False)

    def shape(self, bucket: Bucket) -> tuple[int, ...]:
        """Return the shape of one sample."""
        edge = self.spatial_factor
        space = (bucket.height_px // edge, bucket.width_px // edge)
        if not self.is_video:
            return (self.channels, *space)
        return (self.channels, 1 + (bucket.num_frames - 1) // self.temporal_factor, *space)

    def fields(self) -> tuple[Field, ...]:
        """Return the stored fields."""
        axes = "CTHW" if self.is_video else "CHW"
        names: tuple[tuple[str, Any], ...] = (("z", "point"),)
        if self.has_logvar:
            names = (("mean", "mean"), ("logvar", "logvar"))
        return tuple(
            Field(name=name, kind=kind, axes=axes, channels=self.channels, dtype=self.dtype)
            for name, kind in names
        )

    def record(self) -> EncodingRecord:
        """Return the encoding that claims to have made the values."""
        identity = {"impl": "latentcache.testing.synthetic", "seed": self.seed}
        identity |= {"channels": self.channels, "dtype": self.dtype, "moments": self.has_logvar}
        return EncodingRecord(
            write_id=new_write_id(),
            column=self.name,
            fingerprint=fingerprint({**identity, "spatial_factor": self.spatial_factor}),
            identity=identity,
            spec={
                "name": "synthetic",
                "posterior": "gaussian" if self.has_logvar else "point",
                "spatial_factor": [self.spatial_factor, self.spatial_factor],
            },
            fields=self.fields(),
            normalizer=dict(self.normalizer) if self.normalizer else None,
            policy="moments" if self.has_logvar else "mode",
            transform={},
            rows_per_unit=self.rows_per_unit,
            batch=BatchRule(pixels=2**20, max=64),
            threads=1,
            device_type="cpu",
            probe={},
        )


def synthetic_store(
    url: str | Path,
    *,
    num_samples: int,
    shape: tuple[int, ...] = (4, 32, 32),
    dtype: str = "float16",
    rows_per_shard: int = 8192,
    seed: int = 0,
) -> Snapshot:
    """Return the snapshot of a new store with one bucket and one column, ``latents``.

    Args:
        url: Of a folder that is empty or not there.
        num_samples: Planned and encoded.
        shape: C, H, W of an image's latent or C, T, H, W of a clip's.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        rows_per_shard: Rows of every tar but the last.
        seed: Of the values.
    """
    num_frames = 1 + (shape[1] - 1) * TEMPORAL_FACTOR if len(shape) == 4 else 1
    bucket = Bucket(num_frames, shape[-2] * SPATIAL_FACTOR, shape[-1] * SPATIAL_FACTOR)
    store = Store.create(url)
    add_generation(store, [(bucket, num_samples, rows_per_shard)])
    column = SyntheticColumn(channels=shape[0], dtype=dtype, is_video=len(shape) == 4, seed=seed)
    return add_column(store, column)


def add_generation(
    store: Store,
    buckets: list[tuple[Bucket, int, int]],
    *,
    clips_per_medium: int = 1,
    retired: list[tuple[int, int]] | None = None,
    classes: Sequence[str] = (),
) -> Generation:
    """Plan drawn samples: (bucket, rows, rows per shard) each.

    Args:
        store: Gets one more generation.
        buckets: In shard order.
        clips_per_medium: Consecutive rows that share a path.
        retired: (shard, row) pairs of earlier generations that are live no more.
        classes: What the numbers of the annotation ``label`` stand for, as plans of folders say it.
    """
    before = store.generations()
    first_shard = sum(generation.num_shards for generation in before)
    runs: list[BucketRun] = []
    for bucket, num_rows, rows_per_shard in buckets:
        run = BucketRun(
            bucket=bucket, first_shard=first_shard, num_rows=num_rows, rows_per_shard=rows_per_shard
        )
        runs.append(run)
        first_shard += run.num_shards
    tables = (
        table
        for run in runs
        for table in _iter_rows(run, generation=len(before), clips=clips_per_medium)
    )
    dead = [{"shard": shard, "row": row, "reason": "gone"} for shard, row in retired or []]
    draft = GenerationDraft(
        corpus_url="drawn",
        corpus_kind="folder",
        options={"drawn": True},
        seed=0,
        runs=tuple(runs),
        rows=tables,
        retired=[pa.Table.from_pylist(dead)] if dead else [],
        totals={
            "listed": sum(run.num_rows for run in runs),
            "bytes": 0,
            "ignored": {},
            **({"classes": list(classes)} if classes else {}),
        },
    )
    return store.write_generation(draft)


def add_annotation(
    store: Store, generation: Generation, name: str, value_of: Callable[[int, int], Any]
) -> None:
    """Annotate every row of a generation; the next snapshot that is published serves it.

    Args:
        store: That holds the generation.
        generation: Whose rows.
        name: Of the annotation.
        value_of: From shard and row in the shard to a value, or to None for no value.
    """
    places = [
        (shard, row)
        for run in generation.runs
        for shard in range(run.first_shard, run.first_shard + run.num_shards)
        for row in range(run.rows_in_shard(shard))
    ]
    shards, rows = zip(*places, strict=True)
    values = [value_of(*place) for place in places]
    store.write_annotations(
        generation, name, [pa.table({"shard": shards, "row": rows, "value": values})]
    )


def add_column(store: Store, column: SyntheticColumn) -> Snapshot:
    """Encode all units that ``column`` lacks and publish it."""
    generations = store.generations()
    record = store.write_encoding(column.record())
    done = store.commits(record)
    for unit in store.units(record):
        if unit.unit not in done:
            _write_unit(store, record, generations[unit.generation], unit, column)
    return store.publish([ColumnChange(record=record, merge_statistics=merge_arrays)])


def unit_values(column: SyntheticColumn, unit: UnitRange) -> dict[str, Array]:
    """Return all samples of a unit by field, [rows, *shape], as float32 of what is stored."""
    shape = (unit.num_rows, *column.shape(unit.bucket))
    values = {}
    for one in column.fields():
        draw = np.random.default_rng(
            keyed_uint64(column.seed, column.name, one.name, str(unit.unit))
        )
        drawn = draw.standard_normal(shape, np.float32)
        # Channels differ, so that a normalizer that mixes them up is noticed.
        offset = np.arange(column.channels, dtype=np.float32)
        drawn += offset.reshape(-1, *(1,) * (len(shape) - 2))
        values[one.name] = _rounded(drawn, column.dtype)
    return values


def _rounded(values: Array, dtype: str) -> Array:
    if dtype == "bfloat16":
        # Cutting the lower bits is rounding too, and needs no torch.
        return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return values.astype(dtype).astype(np.float32)


def _write_unit(
    store: Store,
    record: EncodingRecord,
    generation: Generation,
    unit: UnitRange,
    column: SyntheticColumn,
) -> None:
    values = unit_values(column, unit)
    keys = store.read_rows(unit, ["key"])["key"].to_pylist()
    rows = range(unit.first_row, unit.first_row + unit.num_rows)
    is_kept = np.array([(unit.unit.shard, row) not in column.rejected for row in rows])
    posterior = "gaussian" if column.has_logvar else "point"
    statistics = UnitStatistics(record.fields, posterior)
    for start in range(0, unit.num_rows, 32):
        part = slice(start, start + 32)
        statistics.add({name: array[part][is_kept[part]] for name, array in values.items()})
    provenance = Provenance(generation_digest=generation.digest, software={})
    with UnitWriter(store.folder, record, unit, provenance=provenance) as writer:
        for index, row in enumerate(rows):
            key = str(keys[index])
            if is_kept[index]:
                stored = {
                    name: stored_values(array[index], column.dtype)
                    for name, array in values.items()
                }
                writer.add(row, key, stored, hashlib.sha256(key.encode()).digest()[:16])
            else:
                writer.reject(row, _REJECT)
        writer.finish(statistics.arrays())


def stored_values(values: Array, dtype: str) -> Array | TensorBytes:
    """Return float32 values that ``dtype`` can hold, as a ``UnitWriter`` takes them."""
    if dtype == "bfloat16":
        bits = (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        return TensorBytes("bfloat16", values.shape, bits.tobytes())
    return values.astype(dtype)


def _iter_rows(run: BucketRun, *, generation: int, clips: int) -> Iterator[pa.Table]:
    for first in range(0, run.num_rows, _ROWS_PER_TABLE):
        count = min(_ROWS_PER_TABLE, run.num_rows - first)
        places = np.arange(first, first + count)
        names = [f"{generation}/{run.bucket}/{place // clips:08d}.mp4" for place in places.tolist()]
        windows = [str(place % clips) for place in places.tolist()]
        size = {"width": run.bucket.width_px, "height": run.bucket.height_px}
        columns: dict[str, Any] = {
            "key": [
                sample_key(SourceRef(path=name), window=window)
                for name, window in zip(names, windows, strict=True)
            ],
            "shard": run.first_shard + places // run.rows_per_shard,
            "row": places % run.rows_per_shard,
            "bucket": [str(run.bucket)] * count,
            "path": names,
            "member": [""] * count,
            "offset_bytes": np.full(count, -1),
            "size_bytes": np.full(count, 1000),
            "version": ["1"] * count,
            "is_animated": np.zeros(count, bool),
            "crop_left_px": places % 7,
            "crop_top_px": places % 5,
        }
        is_clip = run.bucket.num_frames > 1
        for name, value in (("start_s", 0.0), ("end_s", 1.0), ("frame_rate_fps", 16.0)):
            columns[name] = [value if is_clip else None] * count
        for edge, pixels in size.items():
            columns[f"source_{edge}_px"] = np.full(count, 2 * pixels)
            columns[f"resized_{edge}_px"] = np.full(count, pixels)
        yield pa.table(
            {one.name: pa.array(columns[one.name]).cast(one.type) for one in PLAN_SCHEMA}
        )
