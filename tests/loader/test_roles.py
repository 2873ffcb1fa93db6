"""Media of roles in a batch: absent ones blank and told, whatever else stays as it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.core.media import Bucket
from latentcache.core.rejects import Reject
from latentcache.loader import LatentLoader
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.written_columns import Fields, write_column

SQUARE = Bucket(1, 32, 32)
NUM_ROWS = 40
ABSENT = Reject(code="absent", stage="decode", reason="the sample has no medium of this role")
BROKEN = Reject(code="corrupt", stage="decode", reason="broken")

Outcome = np.ndarray | Reject


def add_role(
    store: Store,
    name: str,
    outcome_of: Callable[[int], Outcome],
    *,
    geometry: str = "as_target",
    column: str = "",
) -> None:
    """Write a column of a role as a run leaves it: row ``16 * shard + row`` has ``outcome_of``."""

    def outcome(shard: int, row: int) -> Fields | Reject:
        found = outcome_of(16 * shard + row)
        return found if isinstance(found, Reject) else {"z": found}

    field = Field(name="z", kind="point", axes="CHW", channels=2, dtype="float32")
    role = {"version": 1, "geometry": geometry}
    transform = {"kind": "image", "input": f"role:{name}", "role": role}
    write_column(store, column or name, (field,), outcome, transform=transform)


def is_absent(number: int) -> bool:
    """Return whether a row has no control: all of one unit, and every fifth."""
    return 8 <= number < 16 or number % 5 == 0


def control_of(number: int) -> Outcome:
    return ABSENT if is_absent(number) else np.full((2, 4, 4), number + 1, np.float32)


def reference_of(number: int) -> Outcome:
    shape = (2, 4 + number % 3, 4)
    return ABSENT if is_absent(number) else np.full(shape, number + 1, np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("roles") / "store")
    add_generation(store, [(SQUARE, NUM_ROWS, 16)])
    add_column(store, SyntheticColumn(rows_per_unit=16))
    add_role(store, "control", control_of)
    add_role(store, "reference", reference_of, geometry="own")
    add_role(store, "broken", lambda number: BROKEN if number == 3 else control_of(number))
    return store


def loader_of(store: Store, *columns: str) -> LatentLoader:
    return LatentLoader(store, columns=list(columns), global_batch_size=8, normalize=False)


def test_absent_controls_are_blank_and_told_and_no_row_is_replaced(store: Store) -> None:
    seen: set[int] = set()
    for batch, _ in zip(loader_of(store, "latents", "control"), range(5), strict=False):
        assert batch.facts.num_substituted == 0
        for row, control, present in zip(
            batch["row"].tolist(), batch["control"], batch["control.present"].tolist(), strict=True
        ):
            seen.add(row)
            assert present == (not is_absent(row))
            assert (control == (row + 1 if present else 0)).all()
    assert len(seen) == NUM_ROWS


def test_a_role_changes_neither_order_nor_draws(store: Store) -> None:
    alone, beside = loader_of(store, "latents"), loader_of(store, "control", "latents")
    for one, other, _ in zip(alone, beside, range(6), strict=False):
        assert torch.equal(one["row"], other["row"])
        assert torch.equal(one["noise_seed"], other["noise_seed"])
        assert torch.equal(one["latents"], other["latents"])
        assert one["key"] == other["key"]


def test_references_come_as_a_list_and_absent_ones_without_an_element(store: Store) -> None:
    for batch, _ in zip(loader_of(store, "latents", "reference"), range(5), strict=False):
        assert isinstance(batch["reference"], list)
        for row, each in zip(batch["row"].tolist(), batch["reference"], strict=True):
            if is_absent(row):
                assert each.shape == (2, 0, 0)
            else:
                assert each.shape == (2, 4 + row % 3, 4)
                assert (each == row + 1).all()


def test_a_row_whose_role_is_broken_has_a_stand_in(store: Store) -> None:
    num_replaced = 0
    for batch, _ in zip(loader_of(store, "latents", "broken"), range(5), strict=False):
        num_replaced += batch.facts.num_substituted
        assert 3 not in batch["row"].tolist()
    assert num_replaced == 1


def test_a_role_alone_leaves_absent_rows_out(store: Store) -> None:
    for batch, _ in zip(loader_of(store, "control"), range(5), strict=False):
        assert batch["control.present"].all()
        assert not any(map(is_absent, batch["row"].tolist()))


def test_one_pass_has_every_sample_though_its_role_is_absent(store: Store) -> None:
    loader = LatentLoader(
        store,
        columns=["latents", "control"],
        global_batch_size=8,
        normalize=False,
        one_pass=True,
    )
    rows = [row for batch in loader for row in batch["row"].tolist()]
    assert sorted(rows) == list(range(NUM_ROWS))


def test_a_role_that_no_sample_of_a_bucket_has_is_refused_in_a_sentence(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 8, 16)])
    add_column(store, SyntheticColumn(rows_per_unit=16))
    add_role(store, "control", lambda _: ABSENT)
    with pytest.raises(ConfigError, match="column control must have samples in bucket"):
        loader_of(store, "latents", "control")
