"""From a plan to a column: describe the encoder, pin the encoding, run what is missing, publish."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from latentcache.core.errors import EncoderError, StoreError
from latentcache.core.units import UnitId
from latentcache.decode import ImageLimits
from latentcache.runner.actor_pool import ActorPool
from latentcache.runner.cluster import ClusterFacts
from latentcache.runner.dispatch import Dispatcher, DispatchResult
from latentcache.runner.encode_actor import ActorSetup
from latentcache.runner.guards import (
    check_corpora,
    check_swap,
    final_limit_sentence,
    quarantine_limit,
)
from latentcache.runner.options import Resources
from latentcache.runner.pinning import check_buckets, encoding_record, planned_buckets
from latentcache.runner.progress import Reporter
from latentcache.runner.request import EncodeRequest
from latentcache.runner.unit_run import UnitOrder
from latentcache.stats import merge_arrays
from latentcache.store import (
    ColumnChange,
    EncodingRecord,
    Generation,
    Store,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeResult:
    """What a run left behind.

    Attributes:
        fingerprint: Of the encoding that serves the column.
        snapshot: Number of the snapshot that serves it, or None if none was published.
        planned: Live samples; ``encoded + quarantined + missing``.
        num_bytes: Of the column's tars.
        newly_encoded: By this run.
        newly_quarantined: By this run.
        elapsed_s: From the first unit given out to the last one done.
        limit_sentence: Why the quarantine limit is passed; "" if it is not.
    """

    column: str
    fingerprint: str
    snapshot: int | None
    planned: int
    encoded: int
    quarantined: int
    missing: int
    num_bytes: int
    newly_encoded: int
    newly_quarantined: int
    elapsed_s: float
    num_actors: int
    threads: int
    device_type: str
    limit_sentence: str = ""

    @property
    def is_over_limit(self) -> bool:
        """Whether more samples are quarantined than allowed."""
        return bool(self.limit_sentence)


@contextmanager
def loaded_pool(store: Store, request: EncodeRequest, facts: ClusterFacts) -> Iterator[ActorPool]:
    """Yield encode actors of which one at least has loaded its encoder; end them afterwards.

    Raises:
        EncoderError: The encoder cannot be loaded.
    """
    resources = request.resources
    device = choose_run_device(resources, facts)
    wanted = resources.num_actors or (
        facts.num_gpus if device == "cuda" else facts.num_cpus // resources.threads
    )
    setup = ActorSetup(
        store_url=store.folder.url,
        encode=request.encode.for_workers(),
        device=device,
        threads=resources.threads,
        window_bytes=facts.window_bytes(max(1, wanted)),
        limits=ImageLimits(max_pixels=resources.max_image_pixels),
        time_limit_s=resources.time_limit_s,
        scratch=resources.scratch,
    )
    pool = ActorPool(setup, resources, facts)
    try:
        pool.start()
        yield pool
    finally:
        pool.stop()


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
    generations = store.generations()
    if not generations:
        raise StoreError(
            f"store must have a plan, got none ({store.folder.label}); "
            "run `latentcache plan CORPUS STORE` first"
        )
    newest = max(store.snapshots(), default=0)
    description = pool.describe(planned_buckets(generations))
    check_buckets(description, request.encode)
    asked = encoding_record(request, description, generations)
    if request.expected_fingerprint not in ("", asked.fingerprint):
        raise StoreError(
            f"encoding must be {request.expected_fingerprint}, got {asked.fingerprint} from "
            f"{request.encode.encoder} (column {request.column}); give the encoder and options "
            "that wrote it"
        )
    record = store.write_encoding(asked)
    if record.threads != request.resources.threads and record.device_type == "cpu":
        reporter.message(
            f"this encoding was begun with {record.threads} threads per actor; keeping that"
        )
        pool.use_threads(record.threads)
    orders = _orders(store, record, generations, request)
    _announce(reporter, record, orders, len(store.units(record)))
    if not orders:
        work = _Work(base=newest, num_actors=len(pool.actors))
        check_swap(store, record, request, generations)
        return _publish(store, record, request, work)
    dispatcher = Dispatcher(
        store,
        record,
        pool,
        units_in_flight=request.resources.units_in_flight,
        limit=quarantine_limit(generations, request.resources),
        reporter=reporter,
    )
    check_corpora(generations, orders)
    work = _Work(base=newest, num_actors=len(pool.actors))
    pool.begin(record)
    work.result = dispatcher.run(orders)
    work.elapsed_s = dispatcher.elapsed_s
    check_swap(store, record, request, generations)
    return _publish(store, record, request, work)


@dataclass(slots=True)
class _Work:
    """What one run did.

    Attributes:
        base: Number of the newest snapshot when it began, 0 if there was none.
    """

    base: int
    num_actors: int
    result: DispatchResult = field(default_factory=DispatchResult)
    elapsed_s: float = 0.0


def _publish(
    store: Store, record: EncodingRecord, request: EncodeRequest, work: _Work
) -> EncodeResult:
    change = ColumnChange(record=record, merge_statistics=merge_arrays)
    snapshot = store.publish([change], allow_partial=request.allow_partial, base=work.base)
    entry = snapshot.columns[request.column].entry
    return EncodeResult(
        column=request.column,
        fingerprint=record.fingerprint,
        snapshot=snapshot.number,
        planned=entry.num_planned,
        encoded=entry.num_encoded,
        quarantined=entry.num_quarantined,
        missing=entry.num_missing,
        num_bytes=entry.num_bytes,
        newly_encoded=work.result.num_encoded,
        newly_quarantined=work.result.num_quarantined,
        elapsed_s=work.elapsed_s,
        num_actors=work.num_actors,
        threads=record.threads,
        device_type=record.device_type,
        limit_sentence=final_limit_sentence(store, snapshot.number, request),
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
) -> list[UnitOrder]:
    """Return what is missing or to be done again, from one listing of the commits."""
    committed = store.commits(record)
    again = request.rerun
    if request.retry_quarantined:
        again |= _transient_units(store, record)
    orders = []
    for generation in generations:
        for unit in generation.units(rows_per_unit=record.rows_per_unit):
            ref = committed.get(unit.unit)
            rev = 0
            if ref is not None:
                if unit.unit not in again:
                    continue
                rev = ref.rev + 1
            orders.append(
                UnitOrder(
                    unit=unit,
                    corpus_url=generation.corpus_url,
                    generation_digest=generation.digest,
                    rev=rev,
                )
            )
    return orders


def _transient_units(store: Store, record: EncodingRecord) -> frozenset[UnitId]:
    """Return the units whose quarantine in the newest snapshot may be a passing trouble."""
    if not store.snapshots():
        return frozenset()
    view = store.snapshot().columns.get(record.column)
    if view is None or view.record.digest != record.digest:
        return frozenset()
    return frozenset(
        UnitId(row["shard"], row["row"] // record.rows_per_unit)
        for row in view.quarantine().to_pylist()
        if row["is_transient"] and row["shard"] >= 0
    )


def _announce(
    reporter: Reporter, record: EncodingRecord, orders: list[UnitOrder], num_units: int
) -> None:
    num_rows = sum(order.unit.num_rows for order in orders)
    name = record.spec["name"]
    if not orders:
        reporter.message(f"{record.column}: all {num_units} units are encoded with {name} already")
    elif len(orders) < num_units:
        reporter.message(
            f"{record.column}: {len(orders)} of {num_units} units to do ({num_rows} samples); "
            "the others are there"
        )
    else:
        reporter.message(f"{record.column}: {num_rows} samples in {num_units} units with {name}")
