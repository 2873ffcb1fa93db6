"""From a plan to a column: describe the encoder, pin the encoding, run what is missing, publish."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from latentcache.core.counts import count_text
from latentcache.core.errors import RunError, StoreError
from latentcache.core.inputs import parse_input
from latentcache.core.units import UnitId
from latentcache.runner.encode.actor_pool import ActorPool
from latentcache.runner.encode.asking import asked_record
from latentcache.runner.encode.codebooks import keep_codebook
from latentcache.runner.encode.dispatch import Dispatcher
from latentcache.runner.encode.guards import (
    check_corpora,
    check_not_empty,
    check_swap,
    check_written,
    final_limit_sentence,
    other_pixels,
    quarantine_limit,
)
from latentcache.runner.encode.limits import ColumnWork, DispatchResult
from latentcache.runner.encode.loaded_pool import kept_url
from latentcache.runner.encode.missing_units import announce, missing_orders
from latentcache.runner.encode.pinning import planned_runs
from latentcache.runner.encode.result import EncodeResult
from latentcache.runner.encode.role_columns import side_column
from latentcache.runner.encode.same_sources import changed_rows, settle_changed
from latentcache.runner.encode.served import asked_figures, check_replaces, same_column
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.messages.run_times import RunTimes
from latentcache.runner.messages.unit_orders import UnitOrder
from latentcache.runner.run_progress import Reporter
from latentcache.stats import ColumnStatistics, merge_arrays, published_misfit
from latentcache.store import ColumnChange, EncodingRecord, Published, Store


def encode_into(
    store: Store, request: EncodeRequest, *, pool: ActorPool, reporter: Reporter
) -> EncodeResult:
    """Encode what ``request.column`` lacks and publish it.

    Args:
        store: With a plan.
        request: What is asked.
        pool: From ``loaded_pool`` of the same request.
        reporter: Shows the run.

    Raises:
        EncoderError: The encoder does not fit the plan.
        StoreError: The store has no plan, or this machine computes other values.
        QuarantineLimitError: Too many samples were rejected; what was done is kept.
    """
    return ColumnRun(store, request, pool, reporter).run()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """What a dispatcher took.

    Attributes:
        elapsed_s: From the first unit given out to the last one done.
        times: Where its encoders' time went.
    """

    elapsed_s: float = 0.0
    times: RunTimes = field(default_factory=RunTimes)


class ColumnRun:
    """One run of one column, from the pinned record to the snapshot.

    By itself it is ``run``; of several columns in one pass ``ask``, ``pin``, ``take`` and
    ``finish`` are called for each, and what lies between them happens once.

    Attributes:
        orders: What it lacks, once it is pinned.
    """

    def __init__(
        self, store: Store, request: EncodeRequest, pool: ActorPool, reporter: Reporter
    ) -> None:
        self._store, self._request, self._pool = store, request, pool
        self._reporter = reporter
        self._generations = store.planned_generations()
        self._side = side_column(store, request)
        self._base = max(store.snapshots(), default=0)
        self._done = DispatchResult()
        self._elapsed_s, self._times = 0.0, RunTimes()
        self._num_retired = 0
        self._published: Published | None = None
        self._num_actors = len(pool.actors)
        self._asked: EncodingRecord | None = None
        self._record: EncodingRecord | None = None
        self.orders: list[UnitOrder] = []

    @property
    def asked(self) -> EncodingRecord:
        """The encoding that is asked for."""
        assert self._asked is not None, "it is asked first"
        return self._asked

    @property
    def record(self) -> EncodingRecord:
        """The encoding as it is pinned."""
        assert self._record is not None, "it is pinned first"
        return self._record

    @property
    def request(self) -> EncodeRequest:
        """What is asked."""
        return self._request

    def run(self) -> EncodeResult:
        """Return what the run left, everything done by itself."""
        self.ask()
        if (found := self.found_elsewhere()) is not None:
            return found
        self.pin()
        self._encode(self.orders)
        return self.finish()

    def ask(self) -> None:
        """Find out which encoding is asked for; nothing is written.

        Raises:
            EncoderError: The encoder cannot be loaded, or refuses a bucket.
            StoreError: It is another encoding than the one that must be worked on.
            ConfigError: The column must keep another encoding.
        """
        runs, tell = planned_runs(self._generations), self._reporter.message
        self._asked = asked_record(self._store, self._request, self._pool, runs, tell=tell)
        check_replaces(self._store, self._request, self._asked)

    def found_elsewhere(self) -> EncodeResult | None:
        """Return the result where another column holds all that is asked for; else None."""
        found = same_column(self._store, self.asked, self._reporter)
        if found is None:
            return None
        number, view = found
        request = replace(self._request, column=view.name)
        sentence = final_limit_sentence(self._store, number, request)
        return EncodeResult.from_view(view, snapshot=number, limit_sentence=sentence)

    def pin(self) -> None:
        """Pin the encoding and find out what it lacks."""
        record = self._record = self._pinned_record(self.asked)
        if self._side is not None:
            changed = self._side.stale_units(record, self._reporter)
        else:  # what was made of files that are put back by now is made again
            changed = frozenset(unit.unit for unit, _ in changed_rows(self._store, record))
        self.orders = self._placed(
            record,
            missing_orders(self._store, record, self._generations, self._request, changed=changed),
            changed - self._request.rerun,
        )
        announce(self._reporter, record, self.orders, len(self._store.units(record)))

    def work(self) -> ColumnWork:
        """Return what a dispatcher is given of the column."""
        return ColumnWork(
            record=self.record, limit=quarantine_limit(self._generations, self._request)
        )

    def take(self, work: ColumnWork, dispatched: Dispatched) -> None:
        """Count what a dispatcher has done of the column.

        Args:
            work: As the dispatcher left it.
            dispatched: What the dispatcher says of itself.

        Raises:
            LatentCacheError: The column was given up, or units of it would have lost samples.
        """
        self._done.merge(work.result)
        if work.result.num_encoded or work.result.num_quarantined:
            self._elapsed_s += dispatched.elapsed_s
            self._times = dispatched.times  # of all that this pool has done
        if work.failure is not None:
            raise work.failure
        if work.result.kept_units:
            raise RunError(
                "units must not lose samples when they are encoded again, got "
                f"{work.result.kept_units} of {len(self.orders)} that would; they were left as "
                "they are: bring back the sources that are missing and run it again"
            )

    def finish(self) -> EncodeResult:
        """Publish what is encoded and return what the run left.

        Raises:
            StoreError: The column is not of the files that others were made of.
            QuarantineLimitError: Too many samples were rejected; what was done is kept.
        """
        record = self.record
        check_swap(self._store, record, self._request, self._generations)
        if not self._done.num_encoded:
            check_not_empty(self._store, record, self._generations)
        if self._side is None:
            may_retire = self._request.changed == "retire"
            self._num_retired = settle_changed(
                self._store, record, may_retire=may_retire, reporter=self._reporter
            )
        if self._num_retired:
            self._base = max(self._store.snapshots())
        try:
            return self._publish(record)
        except StoreError:
            # Commits are believed by name until a snapshot needs what they name.
            broken = self._store.unservable_units(record)
            if not broken:
                raise
        self._reporter.message(
            f"{record.column}: {count_text(len(broken), 'unit')} lost files, to be encoded again"
        )
        orders = missing_orders(
            self._store, record, self._generations, self._request, broken=broken
        )
        self._encode(self._placed(record, orders))
        return self._publish(record)

    def _placed(
        self, record: EncodingRecord, orders: list[UnitOrder], stale: Collection[UnitId] = ()
    ) -> list[UnitOrder]:
        return orders if self._side is None else self._side.placed(record, orders, stale)

    def _pinned_record(self, asked: EncodingRecord) -> EncodingRecord:
        """Return the encoding that the store holds for ``asked``, pinned now if need be."""
        request = self._request
        said = other_pixels(self._store, asked)
        if said:
            self._reporter.message(said)
        record = self._store.write_encoding(asked)
        self._published = asked_figures(self._store, asked, record, self._reporter)
        keep_codebook(self._store, request, record, self._pool, self._reporter)
        if record.threads != request.resources.threads and record.device_type == "cpu":
            self._reporter.message(
                f"this encoding was begun with {record.threads} threads per actor; keeping that"
            )
            self._pool.use_threads(record.threads)
        return record

    def _encode(self, orders: list[UnitOrder]) -> None:
        work = self.work()
        dispatched = encode_orders(
            self._store, [(self._request, work)], orders, pool=self._pool, reporter=self._reporter
        )
        self.take(work, dispatched)

    def _publish(self, record: EncodingRecord) -> EncodeResult:
        request = self._request
        if request.verifies:
            check_written(self._store, record, self._reporter)
        texts = () if self._side is None else self._side.named_texts(record, self._pool)
        change = ColumnChange(
            record=record, merge_statistics=merge_arrays, published=self._published, texts=texts
        )
        snapshot = self._store.publish(
            [change], allow_partial=request.allow_partial, base=self._base
        )
        view = snapshot.columns[request.column]
        ops = (view.record.normalizer or {}).get("ops", ())
        statistics = ColumnStatistics.from_arrays(view.statistics())
        if said := published_misfit(statistics, ops, column=view.name):
            self._reporter.message(f"warning: {said}")
        if self._side is not None:
            self._side.note_end(record, self._done.num_cut, self._reporter)
        return EncodeResult.from_view(
            view,
            snapshot=snapshot.number,
            newly_encoded=self._done.num_encoded,
            newly_quarantined=self._done.num_quarantined,
            newly_retired=self._num_retired,
            elapsed_s=self._elapsed_s,
            num_actors=self._num_actors,
            times=self._times,
            limit_sentence=final_limit_sentence(self._store, snapshot.number, request),
        )


def encode_orders(
    store: Store,
    columns: Sequence[tuple[EncodeRequest, ColumnWork]],
    orders: list[UnitOrder],
    *,
    pool: ActorPool,
    reporter: Reporter,
) -> Dispatched:
    """Encode and commit units; return what it took.

    Args:
        store: Where they go.
        columns: What is asked of each column, and where what is done is counted.
        orders: Of these columns.
        pool: Has them as columns too.
        reporter: Shows the run.
    """
    if not orders:
        return Dispatched()
    request = columns[0][0]
    if parse_input(request.encode.input).modality == "pixels":
        check_corpora(orders)
    dispatcher = Dispatcher(
        store,
        [work for _, work in columns],
        pool,
        units_in_flight=request.resources.units_in_flight,
        reporter=reporter,
    )
    pool.begin(*(work.record for _, work in columns))
    # Whether every actor sees the batches that another has kept.
    are_kept_for_all = (
        kept_url(store, request).startswith(store.folder.url) or pool.workers.facts.num_nodes == 1
    )
    dispatcher.run(orders, can_split=are_kept_for_all)
    return Dispatched(elapsed_s=dispatcher.elapsed_s, times=dispatcher.times)
