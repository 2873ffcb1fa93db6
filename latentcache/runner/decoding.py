"""Decode tasks: a run of planned rows in, one block of pixels with its failures out.

A task covers rows fixed by the plan and names each of them in its answer, because Ray may
run it again anywhere: the actor that asked checks the rows, never their number.

Dimension letters: N rows, T frames, H height, W width.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import ray

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry, SourceRef
from latentcache.core.rejects import Reject
from latentcache.decode import (
    ImageLimits,
    ImageTransform,
    classify,
    decode_image,
    decode_isolated,
    time_limit,
)
from latentcache.plan import read_sources
from latentcache.storage import Folder

MAX_TASK_ROWS = 32
"""A dead worker costs the rows of one task a second try; see docs/decisions."""

MAX_TASK_BYTES = 64 * 2**20
"""Of decoded pixels; a 1024 px image has 3 MiB."""

MID_GREY = 128
"""Fills the place of a row that has no pixels, so that batch shapes never change."""

SOURCE_DIGEST_BYTES = 16

_READ_TIME_LIMITS = 4
"""A task's bytes may take this many time limits of one sample to arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRow:
    """One planned sample, as a decode task needs it."""

    row: int
    key: str
    source: SourceRef
    geometry: Geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeSettings:
    """What all tasks of a run share.

    Attributes:
        transform: How pixels are made; part of the encoding's identity.
        limits: What is refused.
        time_limit_s: Per sample.
    """

    transform: ImageTransform
    limits: ImageLimits
    time_limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOrder:
    """What one task is asked to do.

    Attributes:
        is_isolated: Run each row in a process of its own: these rows were in a task that died.
    """

    corpus: Folder
    bucket: Bucket
    rows: tuple[DecodeRow, ...]
    settings: DecodeSettings
    is_isolated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedRows:
    """What one task answers.

    Attributes:
        rows: The rows that were asked for, in order.
        pixels_NTHWC: uint8 RGB; mid-grey where a row was rejected.
        rejects: By row.
        source_digests: blake2b-128 of each row's bytes; empty if they could not be read.
        source_bytes: Read in all.
        busy_s: Seconds the task ran.
    """

    rows: tuple[int, ...]
    pixels_NTHWC: npt.NDArray[np.uint8]
    rejects: dict[int, Reject] = field(default_factory=dict)
    source_digests: dict[int, bytes] = field(default_factory=dict)
    source_bytes: int = 0
    busy_s: float = 0.0


def rows_per_task(bucket: Bucket) -> int:
    """Return how many rows of ``bucket`` one task takes; depends on nothing else."""
    return max(1, min(MAX_TASK_ROWS, MAX_TASK_BYTES // bucket.rgb_bytes))


def decode_rows(order: DecodeOrder) -> DecodedRows:
    """Return the pixels of ``order``'s rows; a bad row costs itself alone."""
    started = time.perf_counter()
    bucket = order.bucket
    shape = (len(order.rows), bucket.num_frames, bucket.height_px, bucket.width_px, 3)
    pixels = np.full(shape, MID_GREY, dtype=np.uint8)
    rejects: dict[int, Reject] = {}
    digests: dict[int, bytes] = {}
    num_bytes = 0
    with time_limit(_READ_TIME_LIMITS * order.settings.time_limit_s):
        payloads = read_sources(order.corpus, [each.source for each in order.rows])
    for index, (planned, payload) in enumerate(zip(order.rows, payloads, strict=True)):
        if isinstance(payload, MediaError):
            # The scan has read it, so what is missing now may come back.
            reject = classify(payload, stage="decode")
            rejects[planned.row] = replace(reject, is_transient=True)
            continue
        num_bytes += len(payload)
        digests[planned.row] = blake2b(payload, digest_size=SOURCE_DIGEST_BYTES).digest()
        try:
            pixels[index, 0] = _decode_one(order, planned, payload)
        except Exception as error:  # noqa: BLE001  a decoder may raise anything; it costs one row
            rejects[planned.row] = classify(error, stage="decode")
    return DecodedRows(
        rows=tuple(each.row for each in order.rows),
        pixels_NTHWC=pixels,
        rejects=rejects,
        source_digests=digests,
        source_bytes=num_bytes,
        busy_s=time.perf_counter() - started,
    )


def _decode_one(order: DecodeOrder, planned: DecodeRow, payload: bytes) -> npt.NDArray[np.uint8]:
    settings = order.settings
    if order.is_isolated:
        return decode_isolated(
            payload,
            order.bucket,
            planned.geometry,
            transform=settings.transform,
            limits=settings.limits,
            time_limit_s=settings.time_limit_s,
        )
    with time_limit(settings.time_limit_s):
        return decode_image(
            payload,
            order.bucket,
            planned.geometry,
            transform=settings.transform,
            limits=settings.limits,
        )


# Ray's own retry would run a task again unseen by the actor that counts its strikes.
decode_task = ray.remote(num_cpus=1, max_retries=0, max_calls=0)(decode_rows)


def split_rows(rows: Sequence[DecodeRow], bucket: Bucket) -> list[tuple[DecodeRow, ...]]:
    """Return ``rows`` cut into the runs that tasks take, in row order."""
    size = rows_per_task(bucket)
    return [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]
