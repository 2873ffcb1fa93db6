"""Plan values are those that the plan's tables hold, whichever groups were read before."""

from pathlib import Path

import numpy as np
import pytest

from latentcache.core.errors import ShardCorruptError
from latentcache.core.media import Bucket
from latentcache.loader.index import plan_values
from latentcache.loader.index.plan_values import PlanValues
from latentcache.store import Generation, Store
from latentcache.store.format.arrow_numbers import numbers
from latentcache.store.rows import plan_draft
from latentcache.store.rows.plan_tables import iter_rows
from latentcache.testing.synthetic import add_generation

FIELDS = ("crop_left_px", "crop_top_px", "start_s", "frame_rate_fps")


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Generation]:
    """A plan in many small parts and groups."""
    monkeypatch.setattr(plan_draft, "ROWS_PER_GROUP", 20)
    monkeypatch.setattr(plan_draft, "GROUPS_PER_PART", 3)
    store = Store.create(tmp_path / "store")
    buckets = [(Bucket(1, 64, 64), 301, 7), (Bucket(9, 32, 32), 55, 10)]
    return store, add_generation(store, buckets)


def test_values_are_those_of_the_tables(planned: tuple[Store, Generation]) -> None:
    store, generation = planned
    assert len(generation.parts) > 3
    expected = {
        field: np.concatenate(
            [numbers(table[field]) for table in iter_rows(store.folder, generation, FIELDS)]
        )
        for field in FIELDS
    }
    values = PlanValues(store.folder, generation, FIELDS)
    places = np.random.default_rng(0).permutation(generation.num_rows)
    for part in np.split(places, [5, 40, 200]):
        for field in FIELDS:
            assert np.array_equal(values.read(field, part), expected[field][part])
            assert values.read(field, part).dtype == expected[field].dtype


def test_only_groups_that_are_asked_for_are_decoded_and_once(
    planned: tuple[Store, Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, generation = planned
    read: list[tuple[str, int]] = []

    def noted(folder: object, name: str, group: int, *rest: object) -> object:
        read.append((name, group))
        return read_group(folder, name, group, *rest)

    read_group = plan_values.read_group
    monkeypatch.setattr(plan_values, "read_group", noted)
    values = PlanValues(store.folder, generation, FIELDS)
    assert not read
    for _ in range(2):
        values.read("crop_left_px", np.array([0, 3, 100]))
        values.read("start_s", np.array([1]))
    assert len(read) == len(set(read)) == 2


def test_a_part_that_is_missing_is_named(planned: tuple[Store, Generation]) -> None:
    store, generation = planned
    store.folder.delete([generation.parts[1].name])
    with pytest.raises(ShardCorruptError, match="plan table must be in the store, got none"):
        PlanValues(store.folder, generation, FIELDS)
