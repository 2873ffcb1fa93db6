"""What a count of commits holds that is live no more: rows retired after they were counted."""

from collections.abc import Sequence

import numpy as np

from latentcache.core.errors import ShardCorruptError, StoreError
from latentcache.core.units import UnitRange
from latentcache.storage import map_ahead
from latentcache.store.format.unit_meta import read_meta
from latentcache.store.snapshots.column_tables import PlanView
from latentcache.store.store import Store


def retired_since(
    store: Store, plan: PlanView, then: PlanView, units: Sequence[tuple[UnitRange, str]]
) -> tuple[int, int]:
    """Return how many rows with a sample, and how many rejected ones, were retired since.

    Args:
        store: The store.
        plan: As it is.
        then: As it was when the units were counted.
        units: What was counted, each with the name of its meta; read where a row was retired.
    """
    gone = [
        (unit, name, np.setdiff1d(plan.retired_rows(unit), then.retired_rows(unit)))
        for unit, name in units
    ]

    def count(one: tuple[UnitRange, str, np.ndarray]) -> int:
        unit, name, rows = one
        try:
            data = store.folder.read(name)
            meta = read_meta(data, first_row=unit.first_row, num_rows=unit.num_rows, where=name)
        except (FileNotFoundError, ShardCorruptError, StoreError):
            return len(rows)  # verify tells what is damaged
        return int(meta.present[rows - unit.first_row].sum())

    touched = [one for one in gone if len(one[2])]
    num_present = sum(map_ahead(count, touched))
    return num_present, sum(len(rows) for _, _, rows in touched) - num_present


def refused_since(plan: PlanView, num_generations: int, then: PlanView) -> int:
    """Return by how many the live samples that planning refused are more than they were.

    Args:
        plan: As it is.
        num_generations: Of the plan as it was.
        then: As it was.
    """
    total = 0
    for position, generation in enumerate(plan.generations):
        live = generation.num_rejects - len(plan.retired_rejects(generation.number))
        if position < num_generations:
            live -= generation.num_rejects - len(then.retired_rejects(generation.number))
        total += live
    return total
