"""One unit's pixels in row order, decoded ahead within the budget, whatever workers die.

Only this code retries. A task whose worker died is run again row by row, each in a process
of its own, so that the row that kills is known and costs itself alone. Node loss, memory
kills and cancels are no strikes: the same task is simply run again.
"""

import threading
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from latentcache.core.errors import RunError
from latentcache.core.media import MID_GREY
from latentcache.core.rejects import Reject, RejectCode
from latentcache.runner.decode.byte_budget import ByteBudget
from latentcache.runner.decode.decode_tasks import (
    DecodedRows,
    DecodeOrder,
    DecodeRow,
    decode_rows_alone,
    split_rows,
)
from latentcache.runner.messages.calls import Calls, NotDoneError, Ref, WorkerLostError
from latentcache.runner.messages.run_errors import UnitCancelledError

POLL_S = 0.2
"""How soon a unit notices that the run was stopped."""

MAX_REPEATS = 10
"""Node losses and memory kills that one task may meet before its unit gives up."""

_DEATHS = (RejectCode.TIMED_OUT.word, RejectCode.CRASHED.word)

KILLS_ITS_READER = Reject(
    code=RejectCode.CRASHED.word,
    stage="decode",
    reason="reading or decoding it kills or hangs the worker, alone too",
    is_transient=True,
)


@dataclass(slots=True)
class _Launched:
    order: DecodeOrder
    ref: Ref
    num_bytes: int


class PixelStream:
    """Iterates the decoded tasks of one unit in row order.

    Attributes:
        num_pending: Tasks launched and not yet taken.
    """

    def __init__(
        self,
        template: DecodeOrder,
        rows: Sequence[DecodeRow],
        *,
        calls: Calls,
        budget: ByteBudget,
        cancelled: threading.Event,
    ) -> None:
        self._template = template
        self._calls = calls
        self._runs = deque(split_rows(rows, template.bucket))
        self._budget = budget
        self._cancelled = cancelled
        self._launched: deque[_Launched] = deque()

    @property
    def num_pending(self) -> int:
        """Tasks launched and not yet taken."""
        return len(self._launched)

    def __iter__(self) -> Generator[DecodedRows]:
        """Yield each task's rows; its bytes go back to the budget when the next is asked for."""
        try:
            while self._runs or self._launched:
                self._launch_ahead()
                head = self._launched.popleft()
                try:
                    yield self._collect(head)
                finally:
                    self._budget.release(head.num_bytes)
        finally:
            self._abandon()

    def _launch_ahead(self) -> None:
        while self._runs:
            num_bytes = len(self._runs[0]) * self._template.bucket.rgb_bytes
            if self._launched:
                if not self._budget.try_acquire(num_bytes):
                    return
            elif not self._budget.acquire(num_bytes, cancelled=self._cancelled):
                raise UnitCancelledError("the run was stopped")
            order = replace(self._template, rows=self._runs.popleft())
            self._launched.append(_Launched(order, self._launch(order), num_bytes))

    def _collect(self, head: _Launched) -> DecodedRows:
        for _ in range(MAX_REPEATS):
            try:
                decoded = self._get(head.ref)
            except WorkerLostError as error:
                if not error.is_strike:
                    head.ref = self._launch(head.order)
                    continue
                decoded = self._collect_isolated(head.order)
            assert decoded.rows == tuple(each.row for each in head.order.rows)
            return decoded
        raise RunError(
            f"decode tasks must survive, got {MAX_REPEATS} losses of one task "
            f"({len(head.order.rows)} rows); give the machine more memory or fewer actors"
        )

    def _launch(self, order: DecodeOrder) -> Ref:
        return self._calls.submit(decode_rows_alone, order)

    def _get(self, ref: Ref) -> DecodedRows:
        while True:
            if self._cancelled.is_set():
                raise UnitCancelledError("the run was stopped")
            try:
                decoded: DecodedRows = self._calls.get(ref, timeout_s=POLL_S)
            except NotDoneError:
                continue
            return decoded

    def _collect_isolated(self, order: DecodeOrder) -> DecodedRows:
        """Return the rows of a task whose worker died, each run alone."""
        pieces = [self._run_alone(order, each) for each in order.rows]
        merged = DecodedRows(
            rows=tuple(row for piece in pieces for row in piece.rows),
            pixels_NTHWC=np.concatenate([piece.pixels_NTHWC for piece in pieces]),
            source_bytes=sum(piece.source_bytes for piece in pieces),
            busy_s=sum(piece.busy_s for piece in pieces),
            storage_retries=sum(piece.storage_retries for piece in pieces),
        )
        for piece in pieces:
            merged.rejects.update(piece.rejects)
            merged.source_digests.update(piece.source_digests)
        return merged

    def _run_alone(self, order: DecodeOrder, planned: DecodeRow) -> DecodedRows:
        """Return one row; what passes within two tries, or with a lost node, costs nothing."""
        alone = replace(order, rows=(planned,), is_isolated=True)
        deaths = 0
        for _ in range(MAX_REPEATS):
            try:
                piece = self._get(self._launch(alone))
            except WorkerLostError as error:
                if not error.is_strike:
                    continue
                # The decoder has a process of its own here, so this is the reading.
                piece = _rejected(alone, KILLS_ITS_READER)
            reject = piece.rejects.get(planned.row)
            deaths += reject is not None and reject.code in _DEATHS
            # A busy moment of the machine must not cost a sample: once more, alone.
            if deaths != 1:
                return piece
        raise RunError(
            f"a decode worker must start, got {MAX_REPEATS} losses (row {planned.row}); "
            "look at the machine's memory and Ray's logs"
        )

    def _abandon(self) -> None:
        for launched in self._launched:
            self._calls.cancel(launched.ref)
            self._budget.release(launched.num_bytes)
        self._launched.clear()


def _rejected(order: DecodeOrder, reject: Reject) -> DecodedRows:
    """Return ``order``'s only row as rejected."""
    bucket, row = order.bucket, order.rows[0].row
    shape = (1, bucket.num_frames, bucket.height_px, bucket.width_px, 3)
    pixels = np.full(shape, MID_GREY, dtype=np.uint8)
    return DecodedRows(rows=(row,), pixels_NTHWC=pixels, rejects={row: reject})
