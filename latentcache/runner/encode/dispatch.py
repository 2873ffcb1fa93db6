"""The driver's loop: which unit goes to which actor, until none is missing.

The driver holds no state worth keeping: what is missing is read from the commits, so a
killed driver costs the units in flight and another may work on the same store.
"""

import random
import time
from collections import Counter, deque
from dataclasses import replace

from latentcache.core.errors import LatentCacheError, QuarantineLimitError, RunError, first_line
from latentcache.core.inputs import encoded_bucket, recorded_input
from latentcache.core.units import UnitId
from latentcache.runner.encode.actor_pool import ActorPool, PooledActor
from latentcache.runner.encode.limits import (
    FINISHES_ANYWAY_ROWS,
    DispatchResult,
    QuarantineLimit,
)
from latentcache.runner.kept.pieces import num_rows, split_last_units
from latentcache.runner.messages.actor_setup import ActorProgress
from latentcache.runner.messages.calls import Ref, WorkerLostError
from latentcache.runner.messages.run_errors import EncoderBrokenError, EncoderOutOfMemoryError
from latentcache.runner.messages.run_times import RunTimes
from latentcache.runner.messages.unit_orders import UnitOrder, UnitOutcome
from latentcache.runner.run_progress import Reporter, encode_progress
from latentcache.store import EncodingRecord, Store

_TICK_S = 0.5
_LIST_COMMITS_S = 30.0
_MAX_DEATHS_WITHOUT_PROGRESS = 12
"""Actors that die in a row without any unit done before the run gives up; a poisonous
sample takes four to be found, and with one actor eight where the unit that was in flight
beside it is suspected first."""


class Dispatcher:
    """Runs orders on a pool until all are committed.

    Attributes:
        elapsed_s: From the first unit given out to the last one done.
        times: Where its encoders' time went, once it is done.
    """

    def __init__(
        self,
        store: Store,
        record: EncodingRecord,
        pool: ActorPool,
        *,
        units_in_flight: int,
        limit: QuarantineLimit,
        reporter: Reporter,
    ) -> None:
        """Keep the parts; ``run`` does the work.

        Args:
            store: Where units go.
            record: Their encoding.
            pool: Of actors.
            units_in_flight: Per actor.
            limit: Of the quarantine.
            reporter: Shows the run.
        """
        self._pieces: Counter[UnitId] = Counter()
        self._kept_rows: Counter[UnitId] = Counter()
        self._store = store
        self._record = record
        self._pool = pool
        self._units_in_flight = units_in_flight
        self._limit = limit
        self._reporter = reporter
        self._queue: deque[UnitOrder] = deque()
        self._result = DispatchResult()
        self._deaths = self._all_deaths = 0
        self.elapsed_s = 0.0
        self.times = RunTimes()
        self._out_of_memory: Counter[UnitId] = Counter()

    def run(self, orders: list[UnitOrder], *, can_split: bool) -> DispatchResult:
        """Return once every order is committed, here or by another driver.

        Args:
            orders: What is missing.
            can_split: All actors see the batches that one keeps.

        Raises:
            QuarantineLimitError: Too many samples are rejected; all commits are kept.
            RunError: Actors keep dying, or the device has no room for a batch.
        """
        queue = _longest_first(orders)
        if can_split:
            queue = split_last_units(
                queue, num_actors=self._pool.wanted(), batch_size=self._batch_size
            )
        self._pieces.update(each.unit.unit for each in queue if each.batches is not None)
        self._queue = deque(queue)
        total = sum(order.unit.num_rows for order in orders)
        while not self._pool.ready():
            self._pool.wait_until_ready(timeout_s=_TICK_S)
        started_s = listed_s = time.monotonic()
        while self._queue or self._in_flight():
            self._pool.grow()
            self._feed()
            self._collect()
            self.elapsed_s = time.monotonic() - started_s
            self._report(total, self._pool.progress())
            if self._pool.end_hanging():
                self._reporter.message("an encoder call took too long; its actor was ended")
            self._judge_limit()
            if time.monotonic() - listed_s > _LIST_COMMITS_S:
                listed_s = time.monotonic()
                self._drop_committed()
        answers = self._pool.final_progress()
        self.times = RunTimes.of(answers)
        self._report(total, answers)
        if num_taken_up := sum(each.rows_taken_up for each in answers):
            self._reporter.message(
                f"{self._record.column}: {num_taken_up:,} of these samples had been encoded by a "
                "run that was stopped; they were taken up, not encoded again"
            )
        return self._result

    def _report(self, total: int, answers: list[ActorProgress]) -> None:
        done = self._result
        progress = encode_progress(
            answers,
            total=total,
            elapsed_s=self.elapsed_s,
            num_safe=done.num_encoded + done.num_quarantined + self._kept_rows.total(),
            num_quarantined=done.num_quarantined,
            column=self._record.column,
            num_deaths=self._all_deaths,
        )
        self._reporter.update(progress)

    def _in_flight(self) -> int:
        return sum(len(actor.in_flight) for actor in self._pool.actors)

    def _feed(self) -> None:
        """Give actors units, evenly; near the end one each, so that none waits behind another."""
        ready = self._pool.ready()
        for depth in range(1, self._units_in_flight + 1):
            for actor in ready:
                if not self._queue:
                    return
                is_near_end = depth > 1 and len(self._queue) < len(ready)
                if len(actor.in_flight) < depth and not is_near_end:
                    self._pool.submit(actor, self._queue.popleft())

    def _collect(self) -> None:
        owners = {ref: actor for actor in self._pool.actors for ref in actor.in_flight}
        if not owners:
            self._pool.wait_until_ready(timeout_s=_TICK_S)
            return
        for ref in self._pool.workers.wait(list(owners), timeout_s=_TICK_S):
            actor = owners[ref]
            if ref in actor.in_flight:  # not yet taken back with a dead actor
                self._take(actor, ref)

    def _take(self, actor: PooledActor, ref: Ref) -> None:
        try:
            outcome: UnitOutcome = self._pool.workers.get(ref)
        except WorkerLostError as error:
            self._handle_death(actor, error, is_strike=error.is_strike)
        except Exception as error:  # noqa: BLE001  whatever the unit raised
            order = actor.in_flight.pop(ref)
            self._handle_error(actor, order, error)
        else:
            order = actor.in_flight.pop(ref)
            self._deaths = 0
            if order.batches is None:
                self._kept_rows.pop(order.unit.unit, None)
                self._result.add(outcome)
            else:
                self._take_piece(order)

    def _take_piece(self, order: UnitOrder) -> None:
        """Count a kept piece; the last one of its unit has the unit joined and committed."""
        unit = order.unit.unit
        if unit not in self._pieces:  # committed by another driver meanwhile
            return
        self._kept_rows[unit] += num_rows(order, self._batch_size(order))
        self._pieces[unit] -= 1
        if not self._pieces[unit]:
            del self._pieces[unit]
            whole = replace(order, batches=None, is_joining=True, is_careful=False, deaths={})
            self._queue.appendleft(whole)

    def _batch_size(self, order: UnitOrder) -> int:
        seen = encoded_bucket(order.unit.bucket, recorded_input(self._record.transform))
        return 1 if order.unit.is_long else self._record.batch_size(seen)

    def _handle_error(self, actor: PooledActor, order: UnitOrder, cause: Exception) -> None:
        if isinstance(cause, EncoderBrokenError):
            self._handle_death(actor, cause, is_strike=True, failed=(order,))
            return
        if isinstance(cause, EncoderOutOfMemoryError):
            self._out_of_memory[order.unit.unit] += 1
            if self._out_of_memory[order.unit.unit] == 1:
                # The actor may hold fragmented memory: a fresh one gets the same batch once more.
                self._queue.extendleft(self._pool.replace_dead(actor))
                self._queue.appendleft(order)
                return
            raise RunError(self._does_not_fit(order))
        if isinstance(cause, (LatentCacheError, OSError)):
            raise cause
        raise RunError(
            f"unit {order.unit.unit} must not fail, got {type(cause).__name__}: {cause}; this is "
            "a defect: please report it with the log"
        ) from cause

    def _does_not_fit(self, order: UnitOrder) -> str:
        bucket = order.unit.bucket
        batch = self._batch_size(order)
        what = f"a batch of {batch}" if batch > 1 else "a sample alone"
        hint = f"give --batch-size {batch // 2}, which is an encoding of its own"
        return (
            f"{what} must fit the device, got out of memory twice on a fresh actor (bucket "
            f"{bucket}); {hint if batch > 1 else 'plan a smaller --resolution or shorter clips'}"
        )

    def _handle_death(
        self,
        actor: PooledActor,
        error: Exception,
        *,
        is_strike: bool,
        failed: tuple[UnitOrder, ...] = (),
    ) -> None:
        self._deaths += 1
        self._all_deaths += 1
        if self._deaths >= _MAX_DEATHS_WITHOUT_PROGRESS:
            raise RunError(
                f"encode actors must live, got {self._deaths} deaths in a row without a unit "
                f"done ({first_line(error)}); look at the machine's memory and Ray's logs"
            )
        self._reporter.message("an encode actor died; its units run again on a new one")
        orders = self._pool.replace_dead(actor, is_strike=is_strike, failed=failed)
        self._queue.extendleft(orders)

    def _judge_limit(self) -> None:
        sentence = self._limit.passed(self._result)
        if sentence is None:
            return
        left = sum(num_rows(order, self._batch_size(order)) for order in self._queue)
        if left > FINISHES_ANYWAY_ROWS:
            raise QuarantineLimitError(sentence)

    def _drop_committed(self) -> None:
        """Forget queued units that another driver has committed meanwhile."""
        committed = self._store.commits(self._record)
        queue: deque[UnitOrder] = deque()
        for order in self._queue:
            unit = order.unit.unit
            if unit not in committed or committed[unit].rev < order.rev:
                queue.append(order)
            else:
                self._pieces.pop(unit, None)
                self._kept_rows.pop(unit, None)
        self._queue = queue


def _longest_first(orders: list[UnitOrder]) -> list[UnitOrder]:
    """Return ``orders`` by size; equals in this driver's own random order, so that two drivers
    on one store rarely do the same unit."""
    shuffled = random.sample(orders, len(orders))
    return sorted(shuffled, key=lambda order: -order.unit.num_rows * order.unit.bucket.num_pixels)
