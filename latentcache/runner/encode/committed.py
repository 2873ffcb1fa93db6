"""What a commit holds, where the actor that made it cannot say so any more."""

from collections import Counter

from latentcache.core.units import UnitRange
from latentcache.runner.messages.unit_orders import UnitOutcome
from latentcache.store import CommitRef, Store
from latentcache.store.format import read_meta


def committed_outcome(store: Store, unit: UnitRange, ref: CommitRef) -> UnitOutcome:
    """Return the outcome of a committed unit, as the actor would have told it.

    Args:
        store: Where it lies.
        unit: Which.
        ref: Its commit.
    """
    commit = store.read_commit(ref)
    data = store.folder.read(commit.meta.name)
    where = commit.meta.name
    meta = read_meta(data, first_row=unit.first_row, num_rows=unit.num_rows, where=where)
    counted = Counter(reject.code for _, reject in meta.rejects if not reject.is_by_option)
    return UnitOutcome(
        unit=unit,
        num_present=commit.num_present,
        num_rejected=commit.num_rejected,
        num_by_option=commit.num_rejected - counted.total(),
        rejects=dict(counted),
    )
