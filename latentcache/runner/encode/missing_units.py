"""Which units a column lacks, or has to be given again."""

from collections.abc import Iterable, Mapping

from latentcache.core.counts import count_text
from latentcache.core.units import UnitId
from latentcache.runner.encode.guards import num_present
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.messages.unit_orders import UnitOrder
from latentcache.runner.run_progress import Reporter
from latentcache.storage import map_ahead
from latentcache.store import CommitRef, EncodingRecord, Generation, Store
from latentcache.store.format import read_meta
from latentcache.store.snapshots import PlanView


def missing_orders(
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
                    column=record.column,
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


def announce(
    reporter: Reporter, record: EncodingRecord, orders: list[UnitOrder], num_units: int
) -> None:
    """Say how much of a column is to do.

    Args:
        reporter: Told.
        record: Its encoding.
        orders: What it lacks.
        num_units: All that it is.
    """
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
