"""What an actor has to do its units with, and how it counts what became of them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from latentcache.core.media import Bucket
from latentcache.core.rejects import Reject
from latentcache.core.units import UnitRange
from latentcache.runner.decode.byte_budget import ByteBudget
from latentcache.runner.decode.decode_tasks import DecodeOrder, DecodeRow, DecodeSettings
from latentcache.runner.decode.pixel_stream import PixelStream
from latentcache.runner.decode.shared_pixels import DecodedStream
from latentcache.runner.kept.batch_log import BatchLog
from latentcache.runner.messages.run_errors import UnitCancelledError
from latentcache.runner.messages.stage_times import COMMIT, StageClock
from latentcache.runner.messages.unit_orders import UnitCounters, UnitOrder, UnitOutcome
from latentcache.stats import UnitStatistics, unit_statistics
from latentcache.storage import Folder
from latentcache.store import EncodingRecord, Provenance, UnitWriter

if TYPE_CHECKING:
    from latentcache.runner.forward.batch_encoder import BatchEncoder
    from latentcache.runner.messages.calls import Calls

ResultT = TypeVar("ResultT")

Decoded = Callable[[DecodeOrder, Sequence[DecodeRow]], DecodedStream]
"""Gives the decoded tasks of rows that follow each other."""

MADE_OF = "annotation"
"""Of a commit's ``software``: the file of the annotation that was encoded, or says which media."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTools:
    """What all units of one actor share.

    Attributes:
        settings: How pixels are made; None for a column of texts.
        note: Tells the driver which place runs next, on the encode thread; "" for none.
        calls: Runs decode calls.
        kept: Where encoded batches of open units are kept.
        keep_every_s: How often.
    """

    store: Folder
    record: EncodingRecord
    encoder: "BatchEncoder"
    settings: DecodeSettings | None
    budget: ByteBudget
    cancelled: threading.Event
    counters: UnitCounters
    note: Callable[[UnitRange, str], None]
    calls: "Calls"
    software: dict[str, str]
    scratch: Path | None
    kept: Folder
    keep_every_s: float

    @property
    def pixels(self) -> DecodeSettings:
        """How pixels are made."""
        assert self.settings is not None, "a column of texts asks for no pixels"
        return self.settings

    @property
    def stages(self) -> StageClock:
        """Where the actor's time goes."""
        return self.encoder.stages

    def decoded(self, template: DecodeOrder, rows: Sequence[DecodeRow]) -> DecodedStream:
        """Return the decoded tasks of rows, for one unit alone.

        Args:
            template: How pixels are made.
            rows: In order.
        """
        return PixelStream(
            template, rows, calls=self.calls, budget=self.budget, cancelled=self.cancelled
        )

    def log(self, order: UnitOrder, *, cut: str = "") -> BatchLog:
        """Return the kept batches of the unit of ``order``.

        Args:
            order: Which unit.
            cut: Tells how its rows were cut into batches, where that follows from their media.
        """
        record = self.record
        identity = {
            "encoding": record.digest,
            "generation": order.generation_digest,
            "unit": str(order.unit.unit),
            "rows": [order.unit.first_row, order.unit.num_rows],
            "corpus": order.corpus_url,
            "software": self.software,
            **({"texts": order.annotation} if order.annotation else {}),
            **({"cut": cut} if cut else {}),
            **({"retired": sorted(order.retired)} if order.retired else {}),
        }
        return BatchLog(self.kept, order.log_name, identity, every_s=self.keep_every_s)

    def writer(self, order: UnitOrder) -> UnitWriter:
        """Return what writes the unit of ``order``."""
        made_of = {MADE_OF: order.annotation} if order.annotation else {}
        provenance = Provenance(
            generation_digest=order.generation_digest, software={**self.software, **made_of}
        )
        return UnitWriter(
            self.store,
            self.record,
            order.unit,
            provenance=provenance,
            rev=order.rev,
            scratch=self.scratch,
        )

    def statistics(self, bucket: Bucket) -> UnitStatistics:
        """Return empty statistics for rows of ``bucket``."""
        return unit_statistics(self.record, bucket)

    def check_cancelled(self) -> None:
        """Leave the unit if the run was stopped.

        Raises:
            UnitCancelledError: It was.
        """
        if self.cancelled.is_set():
            raise UnitCancelledError("the run was stopped")

    def wait(self, future: "Future[ResultT]") -> ResultT:
        """Return what the encode thread gives.

        Raises:
            UnitCancelledError: The run was stopped meanwhile.
        """
        with self.stages.waiting_for_encoder():
            while True:
                self.check_cancelled()
                try:
                    return future.result(timeout=0.2)
                except TimeoutError:
                    if future.done():
                        raise

    def noting(self, unit: UnitRange, place: str) -> Callable[[bool], None]:
        """Return what the encode thread calls before (True) and after (False) ``place``."""
        return lambda is_next: self.note(unit, place if is_next else "")


class UnitTally:
    """What became of the rows of one unit, counted for its outcome and for the run's progress."""

    def __init__(self, tools: UnitTools, order: UnitOrder) -> None:
        self._counters, self._stages, self._order = tools.counters, tools.stages, order
        self._name = f"{order.unit.unit} {order.batches or ''}"
        # Its pieces are counted as kept already, where they were made.
        self._is_shown = not order.is_joining
        self._num_seen = self._num_kept = 0
        self._rejects: Counter[str] = Counter()
        self._num_by_option = 0
        self.num_present = 0

    def encoded(self, num_rows: int) -> None:
        """Count rows that have a latent."""
        self.num_present += num_rows
        self._num_seen += num_rows
        self._show()

    def rejected(self, reject: Reject) -> None:
        """Count a row that has none."""
        self._num_seen += 1
        if reject.is_by_option:
            self._num_by_option += 1
        else:
            self._rejects[reject.code] += 1

    def worked(self, num_rows: int) -> None:
        """Count rows that went through the encoder here and now."""
        self._counters.rows_worked += num_rows

    def taken_up(self, num_rows: int) -> None:
        """Count rows that were found encoded and kept, where their unit or piece is run."""
        if self._is_shown:
            self._counters.rows_taken_up += num_rows

    def keep(self) -> None:
        """Note that all rows seen so far are safe."""
        self._num_kept = self._num_seen
        self._show()

    def close(self) -> None:
        """Take the unit off the list of open ones."""
        self._counters.kept.pop(self._name, None)
        self._counters.under_way.pop(self._name, None)

    def share(self, share: float) -> None:
        """Show which share of a long clip is encoded."""
        self._counters.under_way[self._name] = share

    def _show(self) -> None:
        if self._is_shown:
            self._counters.kept[self._name] = self._num_kept
            self._counters.under_way[self._name] = float(self._num_seen - self._num_kept)

    def committed(
        self, writer: UnitWriter, statistics: UnitStatistics, *, num_cut: int = 0
    ) -> UnitOutcome:
        """Commit the unit, unless it holds fewer samples than what it should replace."""
        is_enough = self.num_present >= self._order.min_present
        if is_enough:
            with self._stages.during(COMMIT):
                started_s = time.monotonic()
                commit = writer.finish(statistics.arrays())
            num_bytes = commit.tar.size_bytes if commit.tar else 0
            self._stages.committed(time.monotonic() - started_s, num_bytes)
        return self.outcome(is_committed=is_enough, num_cut=num_cut)

    def outcome(self, *, is_committed: bool, num_cut: int = 0) -> UnitOutcome:
        """Return what the driver is told."""
        return UnitOutcome(
            unit=self._order.unit,
            num_present=self.num_present,
            num_rejected=self._rejects.total() + self._num_by_option,
            num_by_option=self._num_by_option,
            rejects=dict(self._rejects),
            is_committed=is_committed,
            num_cut=num_cut,
        )
