"""Scanned media as table rows: what assignment sorts, counts and places."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.core.rejects import Reject
from latentcache.core.seeds import keyed_uint64
from latentcache.plan.clips import Clip
from latentcache.plan.corpus.merging import Notes, merged_fields
from latentcache.plan.listing import Annotation
from latentcache.plan.placement.annotation_types import to_json
from latentcache.plan.placement.buckets import fit
from latentcache.plan.placement.scanned import ScannedMedia
from latentcache.plan.plan_options import PlanOptions

Annotations = Mapping[str, Annotation]

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
    ("resolution_px", pa.int32()),  # of the placement
    ("crop_index", pa.int32()),
    ("is_flipped", pa.bool_()),
]
SCAN_SCHEMA = pa.schema(_COLUMNS)

# Two records that agree in all of these are the same record.
_ORDER = (
    *("placement", "path", "position", "member", "offset_bytes", "start_s", "version"),
    "size_bytes",
    *("width_px", "height_px", "annotations", "reason"),
    # Placements of one sample lie beside each other.
    *("resolution_px", "crop_index", "is_flipped"),
)


def scan_row(
    media: ScannedMedia, bucket: int | Reject, seed: int, *, resolution_px: int
) -> dict[str, object]:
    """Return one row of ``SCAN_SCHEMA``.

    Args:
        media: The sample.
        bucket: Index of its bucket, or why it gets none.
        seed: Keys the placement in shards.
        resolution_px: Of the bucket.
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
        "resolution_px": resolution_px,
        "crop_index": 0,
        "is_flipped": False,
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


MergeNote = Callable[[Sequence[Annotations], Annotations], None]
"""Told of the fields of rows of one sample, and of what they became."""


def merged_rows(table: pa.Table, notes: Notes, on_merge: MergeNote) -> pa.Table:
    """Return ``table``, in order, with one row per key.

    Several rows of one path, as COCO and Flickr30k have them for several captions, are one
    sample. A row that can be used comes before one that cannot.
    """
    if len(pc.unique(table["key"])) == len(table):
        return table
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        groups.setdefault(row["key"], []).append(row)
    rows = []
    for group in groups.values():
        if len(group) > 1:
            usable = [row for row in group if not row["code"]] or group
            notes.add("rows_merged", usable[0]["path"], len(group) - 1)
            fields = [json.loads(row["annotations"]) for row in usable]
            merged = merged_fields(fields, notes, usable[0]["path"])
            if not usable[0]["code"]:
                on_merge(fields, merged)
            rows.append(usable[0] | {"annotations": to_json(merged)})
        else:
            rows += group
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
