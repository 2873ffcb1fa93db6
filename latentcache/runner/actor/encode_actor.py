"""The encode actor: one per GPU, owner of its units, its encoders and its decode tasks.

Three kinds of threads: ``units`` carry one pass over units each, ``control`` answers the driver
at any time, and one thread is the only one that touches an encoder, whichever column's.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from latentcache.runner.actor.column_worker import ColumnWorker, SharedTools
from latentcache.runner.actor.pass_run import PassRun
from latentcache.runner.decode.decode_tasks import DecodedRows
from latentcache.runner.messages.actor_setup import (
    ActorProgress,
    ActorSetup,
    EncoderDescription,
)
from latentcache.runner.messages.calls import ActorCalls
from latentcache.runner.messages.stage_times import ActorTimes
from latentcache.runner.messages.unit_orders import UnitAnswer, UnitPass
from latentcache.storage import num_retries, take_over
from latentcache.store import EncodingRecord


class EncodeWorker:
    """What the actor does; a plain class so that it can be read and tested without Ray."""

    def __init__(self, setup: ActorSetup, calls: ActorCalls, name: str = "") -> None:
        """Keep what is given; encoders are loaded by the first call that needs them.

        An error raised here would reach the driver as text only (Ray keeps no cause).

        Args:
            setup: Of the run.
            calls: Runs its decode calls, and keeps its notes of careful units.
            name: Of this actor in the ledger.
        """
        logging.getLogger("latentcache").setLevel(logging.WARNING)
        take_over(setup.storage_options)
        self._shared = SharedTools.of(setup, calls, name)
        self._columns = {
            each.column: ColumnWorker(setup, each, self._shared) for each in setup.columns
        }
        self._has_begun = False

    def load(self) -> None:
        """Load the encoders.

        Raises:
            EncoderError: One cannot be loaded.
        """
        for column in self._columns.values():
            column.load()

    def describe(self, column: str, buckets: dict[str, bool]) -> EncoderDescription:
        """Return what a column's encoder is; see ``ColumnWorker.describe``."""
        return self._columns[column].describe(buckets)

    def bytes_in_tar(self, column: str, buckets: list[str]) -> dict[str, int]:
        """Return what a sample of each bucket takes; see ``ColumnWorker.bytes_in_tar``."""
        return self._columns[column].bytes_in_tar(buckets)

    def seconds_per_sample(self, column: str, decoded: DecodedRows) -> float:
        """Return what one sample costs in a column's encoder."""
        return self._columns[column].seconds_per_sample(decoded)

    def begin(self, records: Sequence[EncodingRecord]) -> None:
        """Take the encodings that later units belong to; see ``ColumnWorker.begin``."""
        for record in records:
            self._columns[record.column].begin(record)
        self._has_begun = True

    def run_units(self, orders: UnitPass) -> tuple[UnitAnswer, ...]:
        """Return what became of each unit of a pass; see ``PassRun``."""
        return PassRun(orders, self._columns, self._shared).run()

    def encode_texts(self, column: str, texts: tuple[str, ...]) -> list[bytes]:
        """Return what texts give; see ``ColumnWorker.encode_texts``."""
        return self._columns[column].encode_texts(texts)

    def codebook(self, column: str) -> np.ndarray[Any, Any] | None:
        """Return the vectors of a column's indices; see ``ColumnWorker.codebook``."""
        return self._columns[column].codebook()

    def progress(self) -> ActorProgress:
        """Return the running totals of all columns."""
        told = [column.progress() for column in self._columns.values()]
        return ActorProgress(
            rows_worked=sum(each.rows_worked for each in told),
            rows_taken_up=sum(each.rows_taken_up for each in told),
            rows_kept=sum(each.rows_kept for each in told),
            under_way=sum(each.under_way for each in told),
            source_bytes=sum(each.source_bytes for each in told),
            decode_busy_s=sum(each.decode_busy_s for each in told),
            tasks_pending=sum(each.tasks_pending for each in told),
            budget_used_bytes=self._shared.budget.used_bytes,
            batch_age_s=max(each.batch_age_s for each in told),
            times=self._shared.stages.times(num_retries()) if self._has_begun else ActorTimes(),
        )

    def cancel(self) -> None:
        """Abandon all units under way: none is committed, what is encoded is kept."""
        self._shared.cancelled.set()
