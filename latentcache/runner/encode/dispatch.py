"""The driver's loop: which units go to which actor, until none is missing.

What is given out is a pass: a unit, or units of several columns over the same rows. The driver
holds no state worth keeping: what is missing is read from the commits, so a killed driver costs
the units in flight and another may work on the same store.
"""

import random
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from latentcache.core.errors import (
    EncoderError,
    LatentCacheError,
    QuarantineLimitError,
    RunError,
    first_line,
)
from latentcache.core.inputs import encoded_bucket, recorded_input
from latentcache.runner.encode.actor_pool import ActorPool, PooledActor
from latentcache.runner.encode.committed import committed_outcome
from latentcache.runner.encode.limits import FINISHES_ANYWAY_ROWS, ColumnWork
from latentcache.runner.kept.pieces import cost_of, num_rows, passes_of, split_last_units
from latentcache.runner.messages.actor_setup import ActorProgress
from latentcache.runner.messages.calls import Ref, WorkerLostError
from latentcache.runner.messages.run_errors import EncoderBrokenError, EncoderOutOfMemoryError
from latentcache.runner.messages.run_times import RunTimes
from latentcache.runner.messages.unit_orders import UnitAnswer, UnitOrder, UnitOutcome, UnitPass
from latentcache.runner.run_progress import Reporter, encode_progress
from latentcache.store import Store

_TICK_S = 0.5
_LIST_COMMITS_S = (2.0, 30.0)
_LIST_COMMITS_SHARE = 0.02
"""Between two looks at what another driver has committed: by how long the last one took."""
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
        columns: Sequence[ColumnWork],
        pool: ActorPool,
        *,
        units_in_flight: int,
        reporter: Reporter,
    ) -> None:
        """Keep the parts; ``run`` does the work.

        Args:
            store: Where units go.
            columns: That they are of; what is done is counted there.
            pool: Of actors.
            units_in_flight: Per actor.
            reporter: Shows the run.
        """
        self._store = store
        self._columns = {each.record.column: each for each in columns}
        self._pool = pool
        self._units_in_flight = units_in_flight
        self._reporter = reporter
        self._queue: deque[UnitPass] = deque()
        self._total = 0
        # By the names of orders.
        self._pieces: Counter[str] = Counter()
        self._kept_rows: Counter[str] = Counter()
        self._out_of_memory: Counter[str] = Counter()
        # By column: what the other columns get done is no progress of a broken one.
        self._deaths: Counter[str] = Counter()
        self.elapsed_s = 0.0
        self.times = RunTimes()
        self._all_deaths = 0

    def run(self, orders: list[UnitOrder], *, can_split: bool) -> None:
        """Return once every order is committed, here or by another driver, or its column given up.

        Args:
            orders: What is missing.
            can_split: All actors see the batches that one keeps.

        Raises:
            QuarantineLimitError: Too many samples of the only column are rejected; all commits
                are kept.
            RunError: Actors keep dying, or the device has no room for a batch.
        """
        queue = self._longest_first(passes_of(orders))
        if can_split:
            queue = split_last_units(
                queue, num_actors=self._pool.wanted(), batch_size=self._batch_size
            )
        self._pieces.update(
            order.name for each in queue for order in each if order.batches is not None
        )
        self._queue = deque(queue)
        self._total = sum(order.unit.num_rows for order in orders)
        while not self._pool.ready():
            self._pool.wait_until_ready(timeout_s=_TICK_S)
        started_s = time.monotonic()
        list_at_s = started_s + _LIST_COMMITS_S[0]
        while self._queue or self._in_flight():
            self._pool.grow()
            self._feed()
            self._collect()
            self.elapsed_s = time.monotonic() - started_s
            self._report(self._pool.progress())
            if self._pool.end_hanging():
                self._reporter.message("an encoder call took too long; its actor was ended")
            self._judge_limits()
            if (now_s := time.monotonic()) > list_at_s:
                self._drop_committed()
                took_s = time.monotonic() - now_s
                shortest_s, longest_s = _LIST_COMMITS_S
                pause_s = min(longest_s, max(shortest_s, took_s / _LIST_COMMITS_SHARE))
                list_at_s = now_s + took_s + pause_s
        answers = self._pool.final_progress()
        self.times = RunTimes.of(answers)
        self._report(answers)
        if num_taken_up := sum(each.rows_taken_up for each in answers):
            self._reporter.message(
                f"{' and '.join(self._columns)}: {num_taken_up:,} of these samples had been "
                "encoded by a run that was stopped; they were taken up, not encoded again"
            )

    def _report(self, answers: list[ActorProgress]) -> None:
        done = [each.result for each in self._columns.values()]
        num_quarantined = sum(each.num_quarantined for each in done)
        progress = encode_progress(
            answers,
            total=self._total,
            elapsed_s=self.elapsed_s,
            num_safe=sum(each.num_encoded for each in done)
            + num_quarantined
            + self._kept_rows.total(),
            num_quarantined=num_quarantined,
            column=", ".join(self._columns),
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
            answers: tuple[UnitAnswer, ...] = self._pool.workers.get(ref)
        except WorkerLostError as error:
            self._handle_death(actor, error, is_strike=error.is_strike)
            return
        except Exception as error:  # noqa: BLE001  it answers for what its units raise
            orders = actor.in_flight.pop(ref)
            answers = tuple(error for _ in orders)
        else:
            orders = actor.in_flight.pop(ref)
        answered = list(zip(orders, answers, strict=True))
        for order, answer in answered:
            if isinstance(answer, UnitOutcome):
                self._take_outcome(order, answer)
        left = [order for order, answer in answered if answer is None]
        if left:  # an earlier unit of the same column failed
            self._again(passes_of(left))
        for order, answer in answered:
            if isinstance(answer, Exception):
                self._handle_error(actor, order, answer)

    def _take_outcome(self, order: UnitOrder, outcome: UnitOutcome) -> None:
        self._deaths.pop(order.column, None)
        if order.batches is None:
            self._kept_rows.pop(order.name, None)
            self._columns[order.column].result.add(outcome)
        else:
            self._take_piece(order)

    def _take_piece(self, order: UnitOrder) -> None:
        """Count a kept piece; the last one of its unit has the unit joined and committed."""
        if order.name not in self._pieces:  # committed by another driver meanwhile
            return
        self._kept_rows[order.name] += num_rows(order, self._batch_size(order))
        self._pieces[order.name] -= 1
        if not self._pieces[order.name]:
            del self._pieces[order.name]
            whole = replace(order, batches=None, is_joining=True, is_careful=False, deaths={})
            self._again([(whole,)])

    def _again(self, passes: Sequence[UnitPass]) -> None:
        """Have passes run next, without the columns that were given up."""
        given_up = {name for name, each in self._columns.items() if each.failure is not None}
        for each in passes:
            if left := tuple(order for order in each if order.column not in given_up):
                self._queue.appendleft(left)

    def _batch_size(self, order: UnitOrder) -> int:
        record = self._columns[order.column].record
        seen = encoded_bucket(order.unit.bucket, recorded_input(record.transform))
        return 1 if order.unit.is_long else record.batch_size(seen)

    def _handle_error(self, actor: PooledActor, order: UnitOrder, cause: Exception) -> None:
        if isinstance(cause, EncoderBrokenError):
            self._handle_death(actor, cause, is_strike=True, failed=order)
            return
        if isinstance(cause, EncoderOutOfMemoryError):
            self._out_of_memory[order.name] += 1
            if self._out_of_memory[order.name] == 1:
                # The actor may hold fragmented memory: a fresh one gets the same batch once more.
                self._replace(actor)
                self._again([(order,)])
                return
            self._give_up(order.column, RunError(self._does_not_fit(order)))
            return
        if isinstance(cause, EncoderError):
            self._give_up(order.column, cause)
            return
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
        failed: UnitOrder | None = None,
    ) -> None:
        self._all_deaths += 1
        columns = [failed.column] if failed else [*self._columns]
        self._deaths.update(columns)
        deaths = min(self._deaths[name] for name in columns)
        if deaths >= _MAX_DEATHS_WITHOUT_PROGRESS:
            sentence = (
                f"encode actors must live, got {deaths} deaths in a row without a unit "
                f"done ({first_line(error)}); look at the machine's memory and Ray's logs"
            )
            if failed is None:
                raise RunError(sentence)
            self._give_up(failed.column, RunError(sentence))
        self._reporter.message("an encode actor died; its units run again on a new one")
        if failed is not None and actor not in self._pool.actors:
            self._again([(replace(failed, is_careful=True),)])
            return
        self._replace(actor, is_strike=is_strike, failed=[] if failed is None else [(failed,)])

    def _replace(
        self, actor: PooledActor, *, is_strike: bool = True, failed: Sequence[UnitPass] = ()
    ) -> None:
        """Have another actor do what one that is dead, or to be ended, has in flight."""
        if actor not in self._pool.actors:
            return
        passes = self._pool.replace_dead(actor, is_strike=is_strike, failed=failed)
        if any(len(each) > 1 for each in passes):  # some units of a pass may be done
            passes = self._without_committed(passes, is_counted=True)
        self._again(passes)

    def _judge_limits(self) -> None:
        for name, column in self._columns.items():
            sentence = column.limit.passed(column.result)
            if sentence is None or column.failure is not None:
                continue
            queued = (order for each in self._queue for order in each if order.column == name)
            left = sum(num_rows(order, self._batch_size(order)) for order in queued)
            if left > FINISHES_ANYWAY_ROWS:
                self._give_up(name, QuarantineLimitError(sentence))

    def _give_up(self, column: str, failure: LatentCacheError) -> None:
        """Go on with the other columns, if there are any; what is committed is kept.

        Raises:
            LatentCacheError: ``failure``, where no other column is left.
        """
        if self._columns[column].failure is not None:  # its other units tell the same
            return
        self._columns[column].failure = failure
        if all(each.failure is not None for each in self._columns.values()):
            raise failure
        self._reporter.message(f"{column}: given up, the other columns go on: {failure}")
        queue, self._queue = self._queue, deque()
        self._again([*reversed(queue)])
        self._total -= sum(
            order.unit.num_rows for each in queue for order in each if order.column == column
        )

    def _drop_committed(self) -> None:
        """Forget queued units that another driver has committed meanwhile."""
        self._queue = deque(self._without_committed(self._queue))

    def _without_committed(
        self, passes: Iterable[UnitPass], *, is_counted: bool = False
    ) -> list[UnitPass]:
        """Return passes without the units that are committed.

        Args:
            passes: Queued, or given back by an actor that died.
            is_counted: What is committed is this run's work.
        """
        committed = {name: self._store.commits(each.record) for name, each in self._columns.items()}
        found: list[UnitPass] = []
        for given in passes:
            left = []
            for order in given:
                ref = committed[order.column].get(order.unit.unit)
                if ref is None or ref.rev < order.rev:
                    left.append(order)
                    continue
                self._pieces.pop(order.name, None)
                self._kept_rows.pop(order.name, None)
                if is_counted:
                    outcome = committed_outcome(self._store, order.unit, ref)
                    self._columns[order.column].result.add(outcome)
            if left:
                found.append(tuple(left))
        return found

    def _longest_first(self, passes: list[UnitPass]) -> list[UnitPass]:
        """Return ``passes`` by size; equals in this driver's own random order, so that two drivers
        on one store rarely do the same unit."""
        shuffled = random.sample(passes, len(passes))
        return sorted(shuffled, key=lambda each: -cost_of(each, self._batch_size))
