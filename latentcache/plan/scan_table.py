"""Scanned media as table rows: what assignment sorts, counts and places."""

from collections import Counter
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry, SourceRef, sample_key
from latentcache.core.rejects import Reject
from latentcache.core.seeds import keyed_uint64
from latentcache.plan.annotation_types import to_json
from latentcache.plan.buckets import fit
from latentcache.plan.clips import Clip
from latentcache.plan.options import PlanOptions
from latentcache.plan.scanned import ScannedMedia

_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("placement", pa.uint64()),
    ("position", pa.int64()),
    ("bucket", pa.int32()),  # index in the table of buckets; -1 for a rejected sample
    ("key", pa.string()),
    ("path", pa.string()),
    ("member", pa.string()),
    ("offset_bytes", pa.int64()),
    ("size_bytes", pa.int64()),
    ("version", pa.string()),
    ("width_px", pa.int32()),
    ("height_px", pa.int32()),
    ("is_animated", pa.bool_()),
    ("start_s", pa.float64()),  # of clips; null for pictures
    ("end_s", pa.float64()),
    ("frame_rate_fps", pa.float64()),
    ("annotations", pa.string()),
    ("code", pa.string()),
    ("stage", pa.string()),
    ("reason", pa.string()),
    ("is_transient", pa.bool_()),
    ("trace_digest", pa.string()),
]
SCAN_SCHEMA = pa.schema(_COLUMNS)

# Two records that agree in all of these are the same record.
_ORDER = (
    *("placement", "path", "position", "member", "offset_bytes", "start_s", "version"),
    "size_bytes",
    *("width_px", "height_px", "annotations", "reason"),
)


def scan_row(media: ScannedMedia, bucket: int | Reject, seed: int) -> dict[str, object]:
    """Return one row of ``SCAN_SCHEMA``.

    Args:
        media: The sample.
        bucket: Index of its bucket, or why it gets none.
        seed: Keys the placement.
    """
    listed, source = media.listed, media.listed.source
    reject = bucket if isinstance(bucket, Reject) else None
    return {
        "placement": _placement(seed, source.path, listed.run),
        "position": listed.position,
        "bucket": -1 if isinstance(bucket, Reject) else bucket,
        "key": listed.key,
        "path": source.path,
        "member": source.member,
        "offset_bytes": source.offset_bytes,
        "size_bytes": source.size_bytes,
        "version": listed.version,
        "width_px": 0 if reject else media.width_px,
        "height_px": 0 if reject else media.height_px,
        "is_animated": media.is_animated,
        **_clip_columns(media.clip),
        "annotations": to_json(listed.annotations),
        **_reject_columns(reject),
    }


# Members of one run come one after the other and share their placement.
@lru_cache(maxsize=1024)
def _placement(seed: int, path: str, run: int) -> int:
    return keyed_uint64(seed, path) if run < 0 else keyed_uint64(seed, path, run)


def _clip_columns(clip: Clip | None) -> dict[str, object]:
    return {
        "start_s": clip.start_s if clip else None,
        "end_s": clip.end_s if clip else None,
        "frame_rate_fps": clip.frame_rate_fps if clip else None,
    }


def _reject_columns(reject: Reject | None) -> dict[str, object]:
    return {
        "code": reject.code if reject else "",
        "stage": reject.stage if reject else "",
        "reason": reject.reason if reject else "",
        "is_transient": bool(reject and reject.is_transient),
        "trace_digest": reject.trace_digest if reject else "",
    }


def in_order(table: pa.Table) -> pa.Table:
    """Return the rows by placement, then source, then position in it."""
    return table.sort_by([(name, "ascending") for name in _ORDER])


def without_duplicates(table: pa.Table) -> pa.Table:
    """Return ``table`` with every later row of a key turned into a reject of its own key.

    A key is unique among live rows, and a duplicate is one: it must not vanish.
    """
    if len(pc.unique(table["key"])) == len(table):
        return table
    rows, ordinals = table.to_pylist(), Counter[str]()
    for row in rows:
        key = row["key"]
        if number := ordinals[key]:
            source = SourceRef(path=row["path"], member=row["member"])
            row["key"] = sample_key(source, window=f"duplicate:{number}")
            row.update(_rejected(Reject(code="duplicate", stage="scan", reason="listed before")))
        ordinals[key] += 1
    return pa.Table.from_pylist(rows, SCAN_SCHEMA)


def without_misfits(table: pa.Table, bucket: Bucket, options: PlanOptions) -> pa.Table:
    """Return ``table`` with the rows that ``bucket`` does not admit turned into rejects."""
    rows = table.to_pylist()
    for row in rows:
        fitted = fitted_or_reject(row["width_px"], row["height_px"], bucket, options)
        if isinstance(fitted, Reject):
            row.update(_rejected(fitted))
    return pa.Table.from_pylist(rows, SCAN_SCHEMA)


def _rejected(reject: Reject) -> dict[str, Any]:
    return {"bucket": -1, **_reject_columns(reject)}


# Photos of one camera share their size.
@lru_cache(maxsize=16384)
def fitted_or_reject(
    width_px: int, height_px: int, bucket: Bucket, options: PlanOptions
) -> Geometry | Reject:
    """Return how a source becomes ``bucket``, or why it may not."""
    try:
        return fit(width_px, height_px, bucket, options)
    except MediaError as error:
        return Reject(code=error.code, stage="scan", reason=str(error))
