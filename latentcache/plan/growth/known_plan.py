"""What new samples have to agree with, read from a store."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from latentcache.core.media import Bucket
from latentcache.plan.placement.plan_base import PlanBase
from latentcache.store import Generation, Store


def plan_base(store: Store, generations: Sequence[Generation]) -> PlanBase:
    """Return what new samples, and new values of those that are there, have to agree with.

    Args:
        store: That holds the plan.
        generations: Of the plan, oldest first.
    """
    names = store.annotation_names()
    counts: Counter[Bucket] = Counter()
    classes: list[str] = []
    types = {}
    for generation in generations:
        for run in generation.runs:
            counts[run.bucket] += run.num_rows
        classes = generation.totals.get("classes") or classes
        for name in names:
            found = store.annotation(generation, name)
            # One of nothing but nulls has no type yet.
            if found is not None and not pa.types.is_null(found.type):
                types[name] = found.type
    return PlanBase(
        first_shard=sum(generation.num_shards for generation in generations),
        num_rows=counts,
        classes=tuple(classes),
        types=types,
    )
