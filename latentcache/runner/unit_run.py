"""One unit on one actor: pixels in row order through the encoder into a tar and a commit.

Dimension letters: B batch, N rows, T frames, H height, W width.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from latentcache.core.inputs import decoded_bucket, encoded_bucket, num_zero_frames
from latentcache.core.rejects import Reject, RejectCode
from latentcache.core.units import UnitRange
from latentcache.runner.batch_encoder import BatchEncoder, EncodeBatch, EncodedBatch
from latentcache.runner.collector import BatchCollector, UnitBatch, decode_rows_of
from latentcache.runner.decoding import (
    DecodedRows,
    DecodeOrder,
    DecodeSettings,
)
from latentcache.runner.pixel_stream import PixelStream, UnitCancelledError
from latentcache.runner.window import ByteWindow
from latentcache.stats import UnitStatistics, patch_size
from latentcache.storage import Folder
from latentcache.store import EncodingRecord, Provenance, TensorBytes, UnitWriter

_DEATHS_ALONE = 2
"""Deaths on one row alone before it is to blame: one may be a lost node."""

_BATCHES_AHEAD = 2
"""One under way and one waiting: the encode thread never waits for statistics or writing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOrder:
    """What the driver asks of an actor.

    Attributes:
        corpus_url: Root of the generation's sources.
        generation_digest: Of the plan generation's record.
        rev: 0, or one more than the commit that a repair or retry replaces.
        min_present: Samples that the commit to be replaced holds; with fewer there is no commit.
        is_careful: An actor died with this unit in flight; note each batch before it runs.
        deaths: Per noted place (``batch:3``, ``row:17``) how often an actor died on it.
    """

    unit: UnitRange
    corpus_url: str
    generation_digest: str
    rev: int = 0
    min_present: int = 0
    is_careful: bool = False
    deaths: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOutcome:
    """What an actor answers once a unit is committed.

    Attributes:
        rejects: Rejected rows by code word, those left out by option not counted.
        is_committed: Whether it was; not if it holds fewer samples than what it should replace.
    """

    unit: UnitRange
    num_present: int
    num_rejected: int
    num_by_option: int
    rejects: dict[str, int]
    is_committed: bool = True


@dataclass(slots=True)
class UnitCounters:
    """Running totals of one actor, read by its control thread."""

    rows_done: int = 0
    rows_rejected: int = 0
    source_bytes: int = 0
    decode_busy_s: float = 0.0
    tasks_pending: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTools:
    """What all units of one actor share.

    Attributes:
        note: Tells the driver's ledger which place runs next, on the encode thread; "" for none.
    """

    store: Folder
    record: EncodingRecord
    encoder: BatchEncoder
    settings: DecodeSettings
    window: ByteWindow
    cancelled: threading.Event
    counters: UnitCounters
    note: Callable[[UnitRange, str], None]
    software: dict[str, str]
    scratch: Path | None


class UnitRun:
    """Encodes and commits one unit."""

    def __init__(self, order: UnitOrder, table: pa.Table, tools: UnitTools) -> None:
        """Prepare a run.

        Args:
            order: Which unit, and what happened to it before.
            table: The unit's plan rows, with ``PLAN_COLUMNS``.
            tools: Of the actor.
        """
        self._order = order
        self._tools = tools
        self._rows = decode_rows_of(table)
        assert len(self._rows) == order.unit.num_rows
        self._input = tools.settings.transform.input
        self._batch_size = tools.record.batch_size(encoded_bucket(order.unit.bucket, self._input))
        normalizer = tools.record.normalizer or {"ops": []}
        self._statistics = UnitStatistics(
            tools.record.fields,
            tools.record.spec["posterior"],
            patch_size=patch_size(normalizer["ops"]),
            pixels_per_sample=order.unit.bucket.num_pixels,
        )
        self._reject_counts: Counter[str] = Counter()
        self._num_by_option = 0
        self._num_present = 0

    def run(self) -> UnitOutcome:
        """Return the outcome once the unit is committed.

        Raises:
            UnitCancelledError: The run was stopped; nothing was committed.
            EncoderOutOfMemoryError: The device has no room for the pinned batch.
        """
        tools = self._tools
        provenance = Provenance(
            generation_digest=self._order.generation_digest, software=tools.software
        )
        with UnitWriter(
            tools.store,
            tools.record,
            self._order.unit,
            provenance=provenance,
            rev=self._order.rev,
            scratch=tools.scratch,
        ) as writer:
            waiting: deque[UnitBatch] = deque()
            for batch in self._batches():
                waiting.append(batch)
                if len(waiting) > _BATCHES_AHEAD:
                    self._store(waiting.popleft(), writer)
            while waiting:
                self._store(waiting.popleft(), writer)
            self._check_cancelled()
            is_committed = self._num_present >= self._order.min_present
            if is_committed:
                writer.finish(self._statistics.arrays())
        return UnitOutcome(
            unit=self._order.unit,
            num_present=self._num_present,
            num_rejected=sum(self._reject_counts.values()) + self._num_by_option,
            num_by_option=self._num_by_option,
            rejects=dict(self._reject_counts),
            is_committed=is_committed,
        )

    def _batches(self) -> Iterator[UnitBatch]:
        """Yield the unit's batches, submitted; which rows share one is fixed by the plan."""
        bucket = decoded_bucket(self._order.unit.bucket, self._input)
        template = DecodeOrder(
            corpus=Folder.open(self._order.corpus_url),
            bucket=bucket,
            rows=(),
            settings=self._tools.settings,
        )
        stream = PixelStream(
            template, self._rows, window=self._tools.window, cancelled=self._tools.cancelled
        )
        index = 0
        collector = BatchCollector(self._rows, bucket, self._batch_size)
        for decoded in stream:
            self._count(decoded, stream)
            for batch, pixels in collector.add(decoded):
                batch.index = index
                index += 1
                self._submit(batch, pixels)
                yield batch

    def _count(self, decoded: DecodedRows, stream: PixelStream) -> None:
        counters = self._tools.counters
        counters.source_bytes += decoded.source_bytes
        counters.decode_busy_s += decoded.busy_s
        counters.tasks_pending = stream.num_pending

    def _submit(self, batch: UnitBatch, pixels_BTHWC: npt.NDArray[np.uint8]) -> None:
        keys = ["" if each.row in batch.rejects else each.key for each in batch.rows]
        keys += [""] * (self._batch_size - len(keys))
        request = EncodeBatch(
            pixels_BTHWC=pixels_BTHWC,
            keys=tuple(keys),
            num_zero_frames=num_zero_frames(self._order.unit.bucket, self._input),
        )
        if not self._order.is_careful:
            batch.future = self._tools.encoder.submit(request)
        elif self._order.deaths.get(f"batch:{batch.index}", 0):
            batch.future = self._one_by_one(batch, request)
        else:
            batch.future = self._tools.encoder.submit(
                request, note=self._noting(f"batch:{batch.index}")
            )

    def _check_cancelled(self) -> None:
        if self._tools.cancelled.is_set():
            raise UnitCancelledError("the run was stopped")

    def _noting(self, place: str) -> Callable[[bool], None]:
        """Return what the encode thread calls before (True) and after (False) ``place``."""
        unit = self._order.unit
        return lambda is_next: self._tools.note(unit, place if is_next else "")

    def _one_by_one(self, batch: UnitBatch, request: EncodeBatch) -> "Future[EncodedBatch]":
        """Encode a batch that killed an actor row by row, each noted before it runs."""
        pieces: list[EncodedBatch] = []
        for position, planned in enumerate(batch.rows):
            if planned.row in batch.rejects:
                continue
            if self._order.deaths.get(f"row:{planned.row}", 0) >= _DEATHS_ALONE:
                batch.rejects[planned.row] = Reject(
                    code=RejectCode.CRASHED.word,
                    stage="encode",
                    reason="the encoder dies or hangs on it, alone too",
                    is_transient=True,
                )
                continue
            note = self._noting(f"row:{planned.row}")
            encoding = self._tools.encoder.submit_alone(request, position, note=note)
            pieces.append(self._wait(encoding))
        joined: Future[EncodedBatch] = Future()
        joined.set_result(_joined(pieces))
        return joined

    def _wait(self, future: "Future[EncodedBatch]") -> EncodedBatch:
        while True:
            self._check_cancelled()
            try:
                return future.result(timeout=1.0)
            except TimeoutError:
                if future.done():
                    raise

    def _store(self, batch: UnitBatch, writer: UnitWriter) -> None:
        """Write a finished batch in row order and add it to the statistics."""
        assert batch.future is not None
        encoded = self._wait(batch.future)
        for position, reject in encoded.rejects.items():
            batch.rejects[batch.rows[position].row] = reject
        payloads = {name: _row_payloads(values) for name, values in encoded.fields.items()}
        at = {position: index for index, position in enumerate(encoded.positions)}
        for position, planned in enumerate(batch.rows):
            digest = batch.digests.get(planned.row, b"")
            reject_or_none = batch.rejects.get(planned.row)
            if reject_or_none is not None:
                self._count_reject(reject_or_none)
                writer.reject(planned.row, reject_or_none, source_digest=digest)
                continue
            fields = {name: each[at[position]] for name, each in payloads.items()}
            writer.add(planned.row, planned.key, fields, source_digest=digest)
        self._num_present += len(encoded.positions)
        self._tools.counters.rows_done += len(encoded.positions)
        if encoded.positions:
            self._statistics.add(
                {name: _float32(values) for name, values in encoded.fields.items()},
                posterior_logvar=None if encoded.logvar is None else encoded.logvar.numpy(),
            )

    def _count_reject(self, reject: Reject) -> None:
        self._tools.counters.rows_rejected += 1
        if reject.is_by_option:
            self._num_by_option += 1
        else:
            self._reject_counts[reject.code] += 1


def _joined(pieces: list[EncodedBatch]) -> EncodedBatch:
    """Return the batch that rows encoded alone make together, in position order."""
    full = [piece for piece in pieces if piece.positions]
    rejects = {p: reject for piece in pieces for p, reject in piece.rejects.items()}
    if not full:
        return EncodedBatch(positions=(), fields={}, logvar=None, rejects=rejects)
    logvars = [piece.logvar for piece in full if piece.logvar is not None]
    return EncodedBatch(
        positions=tuple(piece.positions[0] for piece in full),
        fields={name: torch.cat([piece.fields[name] for piece in full]) for name in full[0].fields},
        logvar=torch.cat(logvars) if logvars else None,
        rejects=rejects,
    )


def _row_payloads(values: torch.Tensor) -> list[TensorBytes]:
    """Return one payload per row of ``values``, as raw bytes without a copy."""
    if not len(values):
        return []
    dtype = str(values.dtype).removeprefix("torch.")
    shape = tuple(values.shape[1:])
    data = values.reshape(values.shape[0], -1).contiguous().view(torch.uint8).numpy()
    return [TensorBytes(dtype, shape, memoryview(row)) for row in data]


def _float32(values: torch.Tensor) -> npt.NDArray[np.float32] | npt.NDArray[np.int64]:
    """Return the stored values for statistics: what a reader will see, in float32."""
    if values.is_floating_point():
        as_float32: npt.NDArray[np.float32] = values.to(torch.float32).numpy()
        return as_float32
    as_int64: npt.NDArray[np.int64] = values.to(torch.int64).numpy()
    return as_int64
