"""Several columns in one pass over the decoded pixels, each as if it were encoded by itself.

What differs from runs one after the other is only that the rows which several columns lack are
decoded once. Records, units, quarantine, statistics and snapshots are each column's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from latentcache.core.errors import LatentCacheError
from latentcache.core.inputs import parse_input
from latentcache.runner.encode.actor_pool import ActorPool
from latentcache.runner.encode.column_run import ColumnRun, encode_orders
from latentcache.runner.encode.result import EncodeResult
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.run_progress import Reporter
from latentcache.store import Store


@dataclass(slots=True)
class PassResult:
    """What a pass left behind.

    Attributes:
        results: By column.
        alone: Columns that turned out not to fit into the pass; nothing was done of them.
    """

    results: dict[str, EncodeResult] = field(default_factory=dict)
    alone: list[EncodeRequest] = field(default_factory=list)


def in_passes(requests: Sequence[EncodeRequest], reporter: Reporter) -> list[list[EncodeRequest]]:
    """Return requests in the order in which they run; those whose pixels are the same, together.

    Args:
        requests: One a column.
        reporter: Told which columns run by themselves.
    """
    passes: dict[object, list[EncodeRequest]] = {}
    for request in requests:
        passes.setdefault(_pixels_of(request) or request.column, []).append(request)
    first, *others = passes.values()
    for group in others:
        names = " and ".join(each.column for each in group)
        reporter.message(
            f"{names}: not of the pixels of {first[0].column} (input {group[0].encode.input}); "
            "encoded afterwards"
        )
    return [first, *others]


def _pixels_of(request: EncodeRequest) -> object:
    """Return what decides a sample's pixels; None where they are no column's but its own."""
    encode = request.encode
    asked = parse_input(encode.input)
    if not asked.is_of_sample or asked.modality != "pixels":
        return None
    return encode.input, encode.background, encode.hdr


def encode_pass_into(
    store: Store, requests: Sequence[EncodeRequest], *, pool: ActorPool, reporter: Reporter
) -> PassResult:
    """Encode what columns lack, of rows decoded once, and publish each of them.

    A column that fails ends itself alone: the others are published before its error is raised.

    Args:
        store: With a plan.
        requests: One a column, of ``in_passes``.
        pool: From ``loaded_pool`` of the same requests.
        reporter: Shows the run.

    Raises:
        LatentCacheError: As ``encode_into`` raises it of one column.
    """
    done = PassResult()
    runs = [ColumnRun(store, request, pool, reporter) for request in requests]
    for run in runs:  # all are refused before anything is written of one
        run.ask()
    pinned: list[ColumnRun] = []
    for run in runs:
        if why := _why_alone(store, run, pinned):
            reporter.message(f"{run.request.column}: {why}; it is encoded afterwards, by itself")
            done.alone.append(run.request)
        elif (found := run.found_elsewhere()) is not None:
            done.results[run.request.column] = found
        else:
            run.pin()
            pinned.append(run)
    _announce(pinned, reporter)
    columns = [(run.request, run.work()) for run in pinned]
    orders = [order for run in pinned for order in run.orders]
    dispatched = encode_orders(store, columns, orders, pool=pool, reporter=reporter)
    failures: dict[str, LatentCacheError] = {}
    for run, (request, work) in zip(pinned, columns, strict=True):
        try:
            run.take(work, dispatched)
            done.results[request.column] = run.finish()
        except LatentCacheError as error:
            failures[request.column] = error
    if failures:
        _raise_first(failures, done, reporter)
    return done


def _why_alone(store: Store, run: ColumnRun, others: Sequence[ColumnRun]) -> str:
    """Return why a column cannot share the pass, "" if it can."""
    asked, request = run.asked, run.request
    for other in others:
        if other.asked.fingerprint == asked.fingerprint:
            return f"the same encoding as {other.request.column}"
    for begun in store.encodings(request.column):
        is_it = begun.fingerprint == asked.fingerprint and begun.device_type == "cpu"
        if is_it and begun.threads != request.resources.threads:
            return f"begun with {begun.threads} threads per actor"
    return ""


def _announce(runs: Sequence[ColumnRun], reporter: Reporter) -> None:
    working = [run for run in runs if run.orders]
    if len(working) < 2:
        return
    names = " and ".join(run.request.column for run in working)
    reporter.message(
        f"{names}: one pass, what several of them lack is decoded once; a sample counts once for "
        "each column below"
    )
    if num_long := sum(order.unit.is_long for order in working[0].orders):
        reporter.message(f"{num_long:,} long clips are decoded by each column for itself")


def _raise_first(
    failures: dict[str, LatentCacheError], done: PassResult, reporter: Reporter
) -> None:
    """Say what became of all columns and raise what the first failure was.

    Raises:
        LatentCacheError: The failure.
    """
    for name, result in done.results.items():
        reporter.message(
            f"{name}: {result.encoded:,} encoded + {result.quarantined:,} quarantined = "
            f"{result.planned:,} planned, served by snapshot {result.snapshot}"
        )
    (_, first), *others = failures.items()
    for name, error in others:
        reporter.message(f"{name}: {error}")
    raise first
