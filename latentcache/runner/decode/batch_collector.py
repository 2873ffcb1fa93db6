"""Planned rows in, batches of the pinned size out; which rows share a batch is fixed by the plan.

Dimension letters: B batch, N rows, T frames, H height, W width.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from latentcache.core.media import MID_GREY, Bucket, Geometry, SourceRef
from latentcache.core.rejects import Reject
from latentcache.runner.decode.decode_tasks import DecodedRows, DecodeRow

if TYPE_CHECKING:
    from latentcache.runner.forward.encoded_rows import EncodedBatch

PLAN_COLUMNS = (
    "key",
    "row",
    "path",
    "member",
    "offset_bytes",
    "size_bytes",
    "source_width_px",
    "source_height_px",
    "resized_width_px",
    "resized_height_px",
    "crop_left_px",
    "crop_top_px",
    "is_flipped",
    "start_s",
    "frame_rate_fps",
)
"""What a unit needs of the plan's rows."""


@dataclass(slots=True)
class UnitBatch:
    """A batch under way: its rows, what decode said of them, and the encoder's answer."""

    index: int
    rows: list[DecodeRow]
    rejects: dict[int, Reject] = field(default_factory=dict)
    digests: dict[int, bytes] = field(default_factory=dict)
    future: "Future[EncodedBatch] | None" = None


class BatchCollector:
    """Cuts the stream of decoded tasks into batches of the pinned size."""

    def __init__(self, rows: list[DecodeRow], bucket: Bucket, batch_size: int) -> None:
        """Start the first batch.

        Args:
            rows: Of the unit, in order.
            bucket: Shape of their pixels.
            batch_size: Pinned.
        """
        self._by_row = {each.row: each for each in rows}
        self._shape = (batch_size, bucket.num_frames, bucket.height_px, bucket.width_px, 3)
        self._last_row = rows[-1].row
        self._start()

    def _start(self) -> None:
        self._batch = UnitBatch(index=-1, rows=[])
        self._pixels = np.empty(self._shape, dtype=np.uint8)

    def add(self, decoded: DecodedRows) -> Iterator[tuple[UnitBatch, npt.NDArray[np.uint8]]]:
        """Yield the batches that ``decoded`` completes; the last one is padded with grey."""
        for index, row in enumerate(decoded.rows):
            self._pixels[len(self._batch.rows)] = decoded.pixels_NTHWC[index]
            self._batch.rows.append(self._by_row[row])
            if row in decoded.rejects:
                self._batch.rejects[row] = decoded.rejects[row]
            if row in decoded.source_digests:
                self._batch.digests[row] = decoded.source_digests[row]
            if len(self._batch.rows) == self._shape[0] or row == self._last_row:
                self._pixels[len(self._batch.rows) :] = MID_GREY
                yield self._batch, self._pixels
                self._start()


def decode_rows_of(table: pa.Table, retired: Collection[int] = frozenset()) -> list[DecodeRow]:
    """Return a unit's plan rows, read with ``PLAN_COLUMNS``, as decode tasks take them."""
    rows = []
    for each in table.to_pylist():
        source = SourceRef(
            path=each["path"],
            member=each["member"],
            offset_bytes=each["offset_bytes"],
            size_bytes=each["size_bytes"],
        )
        names = ("source_width_px", "source_height_px", "resized_width_px", "resized_height_px")
        geometry = Geometry(
            **{name: each[name] for name in (*names, "crop_left_px", "crop_top_px")},
            # A plan that is not written yet says it only where a sample has several rows.
            is_flipped=each.get("is_flipped", False),
        )
        rows.append(
            DecodeRow(
                row=each["row"],
                key=each["key"],
                source=source,
                geometry=geometry,
                start_s=each["start_s"],
                frame_rate_fps=each["frame_rate_fps"],
                is_retired=each["row"] in retired,
            )
        )
    return rows
