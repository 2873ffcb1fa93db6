"""One unit on one actor: pixels in row order through the encoder into a tar and a commit.

Dimension letters: B batch, N rows, T frames, H height, W width.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch

from latentcache.core.inputs import decoded_bucket, encoded_bucket, frame_numbers, num_zero_frames
from latentcache.core.media import Bucket
from latentcache.runner.decode.batch_collector import BatchCollector, UnitBatch
from latentcache.runner.decode.decode_tasks import DecodedRows, DecodeOrder, DecodeRow
from latentcache.runner.decode.shared_pixels import DecodedStream
from latentcache.runner.forward.batch_encoder import EncodeBatch
from latentcache.runner.forward.encoded_rows import EncodedBatch, Rows
from latentcache.runner.forward.stored_batch import float32_of, row_payloads
from latentcache.runner.kept.batch_log import KeptBatch
from latentcache.runner.messages.run_errors import UnitCancelledError
from latentcache.runner.messages.stage_times import WRITE
from latentcache.runner.messages.unit_orders import (
    DEATHS_ALONE,
    KILLS_ITS_ENCODER,
    UnitOrder,
    UnitOutcome,
)
from latentcache.runner.units.unit_rows import RowOrder, UnitRows
from latentcache.runner.units.unit_tools import Decoded, UnitTally, UnitTools
from latentcache.storage import Folder
from latentcache.store import UnitWriter

_BATCHES_AHEAD = 2
"""One under way and one waiting: the encode thread never waits for statistics or writing."""


class UnitRun:
    """Encodes and commits one unit."""

    def __init__(self, order: UnitOrder, rows: UnitRows, tools: UnitTools) -> None:
        """Prepare a run.

        Args:
            order: Which unit, and what happened to it before.
            rows: What is decoded of it.
            tools: Of the actor.
        """
        self._order, self._tools, self._given = order, tools, rows
        self._input = tools.pixels.transform.input
        seen = [encoded_bucket(group.bucket, self._input) for group in rows.groups]
        self._sizes = [
            1 if order.unit.is_long else tools.record.batch_size(bucket) for bucket in seen
        ]
        self._cut = rows.batches(self._sizes)
        self._written = RowOrder(rows.numbers)
        self._statistics = tools.statistics(order.unit.bucket)
        self._tally = UnitTally(tools, order)
        self._log = tools.log(order, cut=rows.cut if order.annotation else "")
        self._kept: dict[int, KeptBatch] | None = None
        self._decoded: Decoded = tools.decoded

    @property
    def order(self) -> UnitOrder:
        """Which unit it is."""
        return self._order

    def take_up(self) -> None:
        """Read what is kept of the unit; once."""
        if self._kept is None:
            self._kept = self._log.kept()

    def needed_rows(self) -> list[DecodeRow]:
        """Return the rows that have to be decoded, in the order in which they will be asked for."""
        self.take_up()
        return [
            row
            for index in self._asked_batches()
            if index not in self._taken
            for row in self._cut[index].rows
        ]

    def run(self, decoded: Decoded | None = None) -> UnitOutcome:
        """Return the outcome once the unit is committed, or the piece that was asked for kept.

        Args:
            decoded: Gives the pixels of rows; by default they are decoded for this unit alone.

        Raises:
            UnitCancelledError: The run was stopped; nothing was committed, what was encoded
                is kept.
            EncoderOutOfMemoryError: The device has no room for the pinned batch.
        """
        self.take_up()
        self._decoded = decoded or self._tools.decoded
        waiting: deque[UnitBatch] = deque()
        try:
            with self._tools.writer(self._order) as writer:
                self._refuse(writer)
                for batch in self._batches():
                    waiting.append(batch)
                    if len(waiting) > _BATCHES_AHEAD:
                        self._store(waiting.popleft(), writer)
                while waiting:
                    self._store(waiting.popleft(), writer)
                self._tools.check_cancelled()
                return self._finished(writer)
        except UnitCancelledError:
            self._keep_done(waiting)
            raise
        finally:
            self._tally.close()

    def _refuse(self, writer: UnitWriter) -> None:
        """Note the rows of which nothing is decoded; of a piece, whoever joins it does."""
        if self._order.batches is None:
            for row, reject in self._given.rejects.items():
                writer.reject(row, reject)
                self._tally.rejected(reject)

    def _finished(self, writer: UnitWriter) -> UnitOutcome:
        if self._order.batches is not None:
            self._log.flush()
            return self._tally.outcome(is_committed=False)
        outcome = self._tally.committed(writer, self._statistics)
        if outcome.is_committed:
            self._log.forget()
        return outcome

    def _keep_done(self, waiting: "deque[UnitBatch]") -> None:
        """Keep what is encoded, and nothing that would have to be waited for."""
        for batch in waiting:
            future = batch.future
            if future is None or not future.done() or future.exception() is not None:
                break
            if batch.index not in self._taken:
                self._log.add(self._keepable(batch, future.result()))
        self._log.flush()

    def _batches(self) -> Iterator[UnitBatch]:
        """Yield the batches asked for, kept or submitted; the plan fixes which rows share one."""

        def kind(index: int) -> tuple[int, bool]:
            return self._cut[index].group, index in self._taken

        for (_, is_kept), indices in groupby(self._asked_batches(), key=kind):
            run = list(indices)
            if not is_kept:
                yield from self._encoding(run)
                continue
            self._tally.taken_up(sum(len(self._cut[index].rows) for index in run))
            for index in run:
                if self._order.batches is None:
                    yield self._taken_up(index)

    def _asked_batches(self) -> range:
        first, last = self._order.batches or (0, len(self._cut))
        return range(first, min(last, len(self._cut)))

    @property
    def _taken(self) -> dict[int, KeptBatch]:
        """What was kept of the unit, by batch."""
        assert self._kept is not None, "it is read first"
        return self._kept

    def _taken_up(self, index: int) -> UnitBatch:
        kept = self._taken[index]
        batch = UnitBatch(index=index, rows=self._cut[index].rows)
        batch.rejects.update(kept.rejects)
        batch.digests.update(kept.digests)
        batch.future = Future()
        batch.future.set_result(
            EncodedBatch(positions=kept.positions, fields=kept.fields, logvar=kept.logvar)
        )
        return batch

    def _encoding(self, indices: list[int]) -> Iterator[UnitBatch]:
        """Yield batches of one group that follow each other, submitted."""
        rows = [row for index in indices for row in self._cut[index].rows]
        group = self._cut[indices[0]].group
        template = self.template(group)
        stream = self._decoded(template, rows)
        index = indices[0]
        collector = BatchCollector(rows, template.bucket, self._sizes[group])
        for decoded in stream:
            self._count(decoded, stream)
            for batch, pixels in collector.add(decoded):
                batch.index = index
                index += 1
                self._submit(batch, pixels)
                yield batch

    def template(self, group: int = 0) -> DecodeOrder:
        """Return how the pixels of a group are made, of no rows yet."""
        planned = self._given.groups[group].bucket
        return DecodeOrder(
            corpus=Folder.open(self._order.corpus_url),
            bucket=decoded_bucket(planned, self._input),
            rows=(),
            settings=self._tools.pixels,
            frame_numbers=frame_numbers(planned, self._input),
        )

    def _count(self, decoded: DecodedRows, stream: DecodedStream) -> None:
        counters = self._tools.counters
        counters.source_bytes += decoded.source_bytes
        counters.decode_busy_s += decoded.busy_s
        self._tools.stages.retried(decoded.storage_retries)
        counters.tasks_pending = stream.num_pending

    def _submit(self, batch: UnitBatch, pixels_BTHWC: npt.NDArray[np.uint8]) -> None:
        keys = ["" if each.row in batch.rejects else each.key for each in batch.rows]
        keys += [""] * (len(pixels_BTHWC) - len(keys))
        planned = self._given.groups[self._cut[batch.index].group].bucket
        request = EncodeBatch(
            pixels_BTHWC=pixels_BTHWC,
            keys=tuple(keys),
            num_zero_frames=num_zero_frames(planned, self._input),
            frame_rates_fps=self._frame_rates_fps(batch, planned),
        )
        if not self._order.is_careful:
            batch.future = self._tools.encoder.submit(request)
        elif self._order.deaths.get(f"batch:{batch.index}", 0):
            batch.future = self._one_by_one(batch, request)
        else:
            batch.future = self._tools.encoder.submit(
                request, note=self._tools.noting(self._order.unit, f"batch:{batch.index}")
            )

    def _frame_rates_fps(self, batch: UnitBatch, planned: Bucket) -> tuple[float, ...]:
        """Return the rate of each clip as the encoder sees it: a lone frame has none."""
        if encoded_bucket(planned, self._input).num_frames == 1:
            return ()
        return tuple(each.frame_rate_fps or 0.0 for each in batch.rows)

    def _one_by_one(self, batch: UnitBatch, request: EncodeBatch) -> "Future[EncodedBatch]":
        """Encode a batch that killed an actor row by row, each noted before it runs."""
        pieces: list[EncodedBatch] = []
        for position, planned in enumerate(batch.rows):
            if planned.row in batch.rejects:
                continue
            if self._order.deaths.get(f"row:{planned.row}", 0) >= DEATHS_ALONE:
                batch.rejects[planned.row] = KILLS_ITS_ENCODER
                continue
            note = self._tools.noting(self._order.unit, f"row:{planned.row}")
            encoding = self._tools.encoder.submit_alone(request, position, note=note)
            pieces.append(self._tools.wait(encoding))
        joined: Future[EncodedBatch] = Future()
        joined.set_result(_joined(pieces))
        return joined

    def _store(self, batch: UnitBatch, writer: UnitWriter) -> None:
        """Write a finished batch in row order and add it to the statistics."""
        assert batch.future is not None
        encoded = self._tools.wait(batch.future)
        with self._tools.stages.during(WRITE):
            self._take(batch, encoded, writer)

    def _take(self, batch: UnitBatch, encoded: EncodedBatch, writer: UnitWriter) -> None:
        keepable = self._keepable(batch, encoded)
        is_new = batch.index not in self._taken
        if self._order.batches is None:
            self._write(batch, encoded, writer)
        self._tally.encoded(len(encoded.positions))
        for reject in batch.rejects.values():
            self._tally.rejected(reject)
        if is_new:
            self._tally.worked(len(batch.rows))
        if not is_new or self._log.add(keepable):
            self._tally.keep()

    def _keepable(self, batch: UnitBatch, encoded: EncodedBatch) -> KeptBatch:
        """Return a batch as it is kept, its rejects joined with the encoder's."""
        for position, reject in encoded.rejects.items():
            batch.rejects[batch.rows[position].row] = reject
        return KeptBatch(
            index=batch.index,
            positions=encoded.positions,
            fields=encoded.fields,
            logvar=encoded.logvar,
            rejects=batch.rejects,
            digests=batch.digests,
        )

    def _write(self, batch: UnitBatch, encoded: EncodedBatch, writer: UnitWriter) -> None:
        payloads = {name: row_payloads(values) for name, values in encoded.fields.items()}
        at = {position: index for index, position in enumerate(encoded.positions)}
        for position, planned in enumerate(batch.rows):
            digest = batch.digests.get(planned.row, b"")
            reject_or_none = batch.rejects.get(planned.row)
            if reject_or_none is not None:
                write = partial(writer.reject, planned.row, reject_or_none, source_digest=digest)
            else:
                fields = {name: each[at[position]] for name, each in payloads.items()}
                write = partial(writer.add, planned.row, planned.key, fields, source_digest=digest)
            self._written.put(planned.row, write)
        for stacked, logvar in encoded.stacks():
            self._statistics.add(
                {name: float32_of(values) for name, values in stacked.items()},
                posterior_logvar=None if logvar is None else logvar.numpy(),
            )


def _joined(pieces: list[EncodedBatch]) -> EncodedBatch:
    """Return the batch that rows encoded alone make together, in position order."""
    full = [piece for piece in pieces if piece.positions]
    rejects = {p: reject for piece in pieces for p, reject in piece.rejects.items()}
    if not full:
        return EncodedBatch(positions=(), fields={}, logvar=None, rejects=rejects)
    logvars = [piece.logvar for piece in full if piece.logvar is not None]
    return EncodedBatch(
        positions=tuple(piece.positions[0] for piece in full),
        fields={name: _rows([piece.fields[name] for piece in full]) for name in full[0].fields},
        logvar=_rows(logvars) if logvars else None,
        rejects=rejects,
    )


def _rows(alone: list[Rows]) -> Rows:
    """Return rows that came one by one as a stack, or as a list where they differ in shape."""
    rows = [each[0] for each in alone]
    is_regular = all(row.shape == rows[0].shape for row in rows)
    return torch.stack(rows) if is_regular else rows
