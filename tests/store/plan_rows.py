"""Plans for tests: rows of a few buckets, numbered as their runs say."""

from collections.abc import Iterator

import pyarrow as pa

from latentcache.core.media import Bucket, SourceRef, sample_key
from latentcache.core.units import BucketRun
from latentcache.store.rows.plan_draft import GenerationDraft
from latentcache.store.rows.plan_tables import PLAN_SCHEMA, REJECTS_SCHEMA


def runs_of(*counts: tuple[Bucket, int, int], first_shard: int = 0) -> tuple[BucketRun, ...]:
    """Return runs of (bucket, rows, rows per shard), numbered without gaps."""
    runs: list[BucketRun] = []
    for bucket, num_rows, rows_per_shard in counts:
        run = BucketRun(
            bucket=bucket,
            first_shard=first_shard,
            num_rows=num_rows,
            rows_per_shard=rows_per_shard,
        )
        runs.append(run)
        first_shard += run.num_shards
    return tuple(runs)


def path_of(shard: int, row: int) -> str:
    return f"photos/{shard:04d}/{row:05d}.jpg"


def key_of(shard: int, row: int) -> str:
    return sample_key(SourceRef(path=path_of(shard, row)))


def row_table(run: BucketRun, shards: range) -> pa.Table:
    """Return the plan rows of some shards of a run."""
    places = [(shard, row) for shard in shards for row in range(run.rows_in_shard(shard))]
    count = len(places)
    size = {"width": run.bucket.width_px, "height": run.bucket.height_px}
    columns = {
        "key": [key_of(*place) for place in places],
        "shard": [shard for shard, _ in places],
        "row": [row for _, row in places],
        "bucket": [str(run.bucket)] * count,
        "path": [path_of(*place) for place in places],
        "member": [""] * count,
        "offset_bytes": [-1] * count,
        "size_bytes": [1000] * count,
        "version": ["1"] * count,
        "start_s": [None] * count,
        "end_s": [None] * count,
        "frame_rate_fps": [None] * count,
        "is_animated": [False] * count,
        "crop_left_px": [0] * count,
        "crop_top_px": [0] * count,
    }
    for edge, pixels in size.items():
        columns[f"source_{edge}_px"] = [2 * pixels] * count
        columns[f"resized_{edge}_px"] = [pixels] * count
    return pa.table(
        {name: pa.array(columns[name], PLAN_SCHEMA.field(name).type) for name in PLAN_SCHEMA.names}
    )


def iter_row_tables(runs: tuple[BucketRun, ...], shards_per_table: int = 3) -> Iterator[pa.Table]:
    for run in runs:
        last = run.first_shard + run.num_shards
        for first in range(run.first_shard, last, shards_per_table):
            yield row_table(run, range(first, min(last, first + shards_per_table)))


def reject_table(*paths: str) -> pa.Table:
    rows = [
        {
            "key": sample_key(SourceRef(path=path)),
            "path": path,
            "member": "",
            "size_bytes": 0,
            "version": "1",
            "code": "empty",
            "stage": "scan",
            "reason": "the file holds no bytes",
            "is_transient": False,
            "trace_digest": "",
        }
        for path in paths
    ]
    return pa.Table.from_pylist(rows, schema=REJECTS_SCHEMA)


def draft_of(runs: tuple[BucketRun, ...], **changes: object) -> GenerationDraft:
    values: dict[str, object] = {
        "corpus_url": "photos",
        "corpus_kind": "folder",
        "options": {"resolution": 256},
        "seed": 7,
        "runs": runs,
        "rows": iter_row_tables(runs),
        "totals": {"listed": sum(run.num_rows for run in runs), "bytes": 0, "ignored": {}},
    }
    return GenerationDraft(**{**values, **changes})
