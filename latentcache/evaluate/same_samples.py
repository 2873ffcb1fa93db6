"""The same samples in another column or store: found by key."""

from collections import defaultdict
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from latentcache.evaluate.planned import PlannedSample, plan_of, samples_of
from latentcache.store import ColumnView
from latentcache.store.rows import iter_rows
from latentcache.store.units import read_unit_meta


def find_samples(column: ColumnView, keys: Sequence[str]) -> dict[str, PlannedSample]:
    """Return those of ``keys`` that a column holds live, by key, in the order of ``keys``.

    Reads the plan's columns of keys once, and the units that hold any.
    """
    wanted = pa.array(keys, pa.string())
    places: dict[str, tuple[int, int]] = {}
    for number in sorted(column.generations):
        generation = column.generations[number]
        for table in iter_rows(column.folder, generation, ("key", "shard", "row")):
            hits = table.filter(pc.is_in(table["key"], value_set=wanted))
            for each in hits.to_pylist():
                places[each["key"]] = (each["shard"], each["row"])
    rows_of: dict[int, list[int]] = defaultdict(list)
    for shard, row in places.values():
        rows_of[shard].append(row)
    plan = plan_of(column)
    found: dict[str, PlannedSample] = {}
    for entry in column.units():
        unit = entry.unit
        stop = unit.first_row + unit.num_rows
        rows = [row for row in rows_of.get(unit.unit.shard, ()) if unit.first_row <= row < stop]
        if not rows or not entry.num_present:
            continue
        meta, retired = read_unit_meta(column.folder, entry), plan.retired_rows(unit)
        slots = [meta.slot_of(row) for row in sorted(rows) if row not in retired]
        present = [slot for slot in slots if slot is not None]
        found.update({each.key: each for each in samples_of(column, entry, present)})
    return {key: found[key] for key in keys if key in found}
