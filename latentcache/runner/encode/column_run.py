"""From a plan to a column: describe the encoder, pin the encoding, run what is missing, publish."""

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from latentcache.core.counts import count_text
from latentcache.core.errors import EncoderError, RunError, StoreError
from latentcache.core.inputs import parse_input
from latentcache.core.units import UnitId
from latentcache.decode import ImageLimits
from latentcache.runner.encode.actor_pool import ActorPool
from latentcache.runner.encode.asking import asked_record
from latentcache.runner.encode.dispatch import Dispatcher
from latentcache.runner.encode.guards import (
    check_corpora,
    check_not_empty,
    check_swap,
    check_written,
    final_limit_sentence,
    num_present,
    other_pixels,
    quarantine_limit,
)
from latentcache.runner.encode.limits import DispatchResult
from latentcache.runner.encode.pinning import planned_runs
from latentcache.runner.encode.result import EncodeResult
from latentcache.runner.encode.role_columns import side_column
from latentcache.runner.encode.same_sources import changed_rows, settle_changed
from latentcache.runner.encode.served import asked_figures, check_replaces, same_column
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.messages.actor_setup import ActorSetup
from latentcache.runner.messages.calls import ClusterFacts, Workers
from latentcache.runner.messages.run_times import RunTimes
from latentcache.runner.messages.unit_orders import UnitOrder
from latentcache.runner.run_options import Resources
from latentcache.runner.run_progress import Reporter
from latentcache.stats import ColumnStatistics, merge_arrays, published_misfit
from latentcache.storage import map_ahead
from latentcache.store import (
    ColumnChange,
    CommitRef,
    EncodingRecord,
    Generation,
    Published,
    Store,
)
from latentcache.store.format import read_meta
from latentcache.store.snapshots import PlanView


@contextmanager
def loaded_pool(store: Store, request: EncodeRequest, workers: Workers) -> Iterator[ActorPool]:
    """Yield encode actors, on a cluster once one has loaded its encoder; end them afterwards.

    Raises:
        EncoderError: The encoder cannot be loaded.
    """
    resources, facts = request.resources, workers.facts
    device = choose_run_device(resources, facts)
    wanted = resources.num_actors or (
        facts.num_gpus if device == "cuda" else facts.num_cpus // resources.threads
    )
    setup = ActorSetup(
        store_url=store.folder.url,
        encode=request.encode.for_workers(),
        device=device,
        threads=resources.threads,
        budget_bytes=facts.budget_bytes(max(1, wanted)),
        limits=ImageLimits(max_pixels=resources.max_image_pixels),
        time_limit_s=resources.time_limit_s,
        scratch=resources.scratch,
        kept_url=_kept_url(store, request),
        keep_every_s=resources.keep_every_s,
    )
    pool = ActorPool(setup, resources, workers)
    try:
        pool.start()
        if workers.waits_for_encoder:  # a wrong encoder must not cost a long scan
            pool.wait_until_loaded()
        yield pool
    finally:
        pool.stop()
        remove_if_empty(setup.kept_url)


def remove_if_empty(kept_url: str) -> None:
    """Remove a local folder of kept batches, and the one above it, where nothing is left in it."""
    if "://" in kept_url:
        return
    for folder in (Path(kept_url), Path(kept_url).parent):
        try:
            folder.rmdir()
        except OSError:  # not empty, or not there
            return


def _kept_url(store: Store, request: EncodeRequest) -> str:
    """Return where encoded batches of open units are kept, one folder a column."""
    if store.folder.is_local or request.resources.keep == "store":
        return f"{store.folder.url.rstrip('/')}/open/{request.column}"
    scratch = request.resources.scratch or tempfile.gettempdir()
    return f"{scratch}/latentcache-open/{store.store_id}/{request.column}"


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
    return _ColumnRun(store, request, pool, reporter).run()


class _ColumnRun:
    """One run of one column, from the pinned record to the snapshot."""

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

    def run(self) -> EncodeResult:
        runs, tell = planned_runs(self._generations), self._reporter.message
        asked = asked_record(self._store, self._request, self._pool, runs, tell=tell)
        found = same_column(self._store, asked, self._reporter)
        if found is not None:
            number, view = found
            request = replace(self._request, column=view.name)
            sentence = final_limit_sentence(self._store, number, request)
            return EncodeResult.from_view(view, snapshot=number, limit_sentence=sentence)
        record = self._pinned_record(asked)
        if self._side is not None:
            changed = self._side.stale_units(record, self._reporter)
        else:  # what was made of files that are put back by now is made again
            changed = frozenset(unit.unit for unit, _ in changed_rows(self._store, record))
        orders = self._placed(
            record,
            _orders(self._store, record, self._generations, self._request, changed=changed),
            changed - self._request.rerun,
        )
        _announce(self._reporter, record, orders, len(self._store.units(record)))
        self._encode(record, orders)
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
        orders = _orders(self._store, record, self._generations, self._request, broken=broken)
        self._encode(record, self._placed(record, orders))
        return self._publish(record)

    def _placed(
        self, record: EncodingRecord, orders: list[UnitOrder], stale: Collection[UnitId] = ()
    ) -> list[UnitOrder]:
        return orders if self._side is None else self._side.placed(record, orders, stale)

    def _pinned_record(self, asked: EncodingRecord) -> EncodingRecord:
        """Return the encoding that the store holds for ``asked``, pinned now if need be."""
        request = self._request
        check_replaces(self._store, request, asked)
        said = other_pixels(self._store, asked)
        if said:
            self._reporter.message(said)
        record = self._store.write_encoding(asked)
        self._published = asked_figures(self._store, asked, record, self._reporter)
        if record.threads != request.resources.threads and record.device_type == "cpu":
            self._reporter.message(
                f"this encoding was begun with {record.threads} threads per actor; keeping that"
            )
            self._pool.use_threads(record.threads)
        return record

    def _encode(self, record: EncodingRecord, orders: list[UnitOrder]) -> None:
        if not orders:
            return
        if parse_input(self._request.encode.input).modality == "pixels":
            check_corpora(orders)
        dispatcher = Dispatcher(
            self._store,
            record,
            self._pool,
            units_in_flight=self._request.resources.units_in_flight,
            limit=quarantine_limit(self._generations, self._request),
            reporter=self._reporter,
        )
        self._pool.begin(record)
        done = dispatcher.run(orders, can_split=self._is_kept_for_all())
        self._done.merge(done)
        self._elapsed_s += dispatcher.elapsed_s
        self._times = dispatcher.times  # of all that this pool has done
        if done.kept_units:
            raise RunError(
                f"units must not lose samples when they are encoded again, got {done.kept_units} "
                f"of {len(orders)} that would; they were left as they are: bring back the sources "
                "that are missing and run it again"
            )

    def _is_kept_for_all(self) -> bool:
        """Whether every actor sees the batches that another has kept."""
        in_store = _kept_url(self._store, self._request).startswith(self._store.folder.url)
        return in_store or self._pool.workers.facts.num_nodes == 1

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


def choose_run_device(resources: Resources, facts: ClusterFacts) -> str:
    """Return ``cuda`` where the run has GPUs and is not told otherwise."""
    if resources.device == "cuda" and not facts.num_gpus:
        raise EncoderError(
            f"device must be one the cluster has, got cuda with {facts.num_gpus} GPUs in "
            f"{facts.num_nodes} nodes; use --device cpu"
        )
    if resources.device != "auto":
        return resources.device
    return "cuda" if facts.num_gpus else "cpu"


def _orders(
    store: Store,
    record: EncodingRecord,
    generations: list[Generation],
    request: EncodeRequest,
    *,
    broken: Mapping[UnitId, int] | None = None,
    changed: frozenset[UnitId] = frozenset(),
) -> list[UnitOrder]:
    """Return what is missing or to be done again, from one listing of the commits.

    Args:
        broken: Units whose commits cannot serve, with the revision to write; only these then.
        changed: Units that hold rows of other bytes than other columns; done again.
    """
    committed = store.commits(record)
    again = frozenset(broken) if broken else request.rerun | changed
    if request.retry_quarantined and not broken:
        again |= _transient_units(store, record, generations, committed.values())
    plan = PlanView.read(store.folder, generations)
    orders = []
    for generation in generations:
        for unit in generation.units(rows_per_unit=record.rows_per_unit):
            ref = committed.get(unit.unit)
            retired, rev, min_present = plan.retired_rows(unit), 0, 0
            if ref is not None:
                if unit.unit not in again:
                    continue
                rev = broken[unit.unit] if broken else ref.rev + 1
                # What cannot serve protects nothing.
                min_present = 0 if broken else num_present(store, ref) - len(retired)
            orders.append(
                UnitOrder(
                    unit=unit,
                    # An update looked at the whole corpus where it lay then.
                    corpus_url=request.corpus_url or generations[-1].corpus_url,
                    generation_digest=generation.digest,
                    rev=rev,
                    min_present=min_present,
                    retired=frozenset(retired.tolist()),
                )
            )
    return orders


def _transient_units(
    store: Store,
    record: EncodingRecord,
    generations: list[Generation],
    refs: Iterable[CommitRef],
) -> frozenset[UnitId]:
    """Return the units that hold a reject which may be a passing trouble; reads every commit."""
    units = {
        unit.unit: unit
        for generation in generations
        for unit in generation.units(rows_per_unit=record.rows_per_unit)
    }

    def is_worth_another_try(ref: CommitRef) -> bool:
        commit = store.read_commit(ref)
        if not commit.num_rejected:
            return False
        unit = units[ref.unit]
        data = store.folder.read(commit.meta.name)
        meta = read_meta(
            data, first_row=unit.first_row, num_rows=unit.num_rows, where=commit.meta.name
        )
        return any(reject.is_transient for _, reject in meta.rejects)

    found = list(refs)
    answers = map_ahead(is_worth_another_try, found)
    return frozenset(ref.unit for ref, again in zip(found, answers, strict=True) if again)


def _announce(
    reporter: Reporter, record: EncodingRecord, orders: list[UnitOrder], num_units: int
) -> None:
    num_rows = sum(order.unit.num_rows for order in orders)
    name = record.spec["name"]
    units = count_text(num_units, "unit")
    if not orders:
        reporter.message(f"{record.column}: {units} encoded with {name} already")
    elif len(orders) < num_units:
        reporter.message(
            f"{record.column}: {len(orders):,} of {units} to do, "
            f"{count_text(num_rows, 'sample')}; the others are there"
        )
    else:
        samples = count_text(num_rows, "sample")
        reporter.message(f"{record.column}: {samples} in {units} with {name}")
