"""Batches of one shape of a role: a tensor and no list, each row as often as ever, resumable."""

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.loader import LatentLoader, LoaderOptions
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.law_examples import examples
from tests.loader.test_roles import ABSENT, BROKEN, NUM_ROWS, SQUARE, Outcome, add_role

SHAPES = ((2, 4, 6), (2, 6, 4), (2, 8, 3), (2, 2, 2))
"""Three of one size in bytes, so that only the header tells them apart."""
GONE = {"absent": ABSENT, "broken": BROKEN}

outcomes = st.lists(
    st.sampled_from([0, 0, 1, 2, 3, "absent", "broken"]), min_size=NUM_ROWS, max_size=NUM_ROWS
).filter(lambda drawn: len({each for each in drawn if isinstance(each, int)}) > 0)


def drawn_store(folder: Path, drawn: list[Any], name: str = "reference.0") -> Store:
    def outcome(number: int) -> Outcome:
        each = drawn[number]
        return np.full(SHAPES[each], number + 1, np.float32) if each not in GONE else GONE[each]

    store = Store.create(folder)
    add_generation(store, [(SQUARE, NUM_ROWS, 16)])
    add_column(store, SyntheticColumn(rows_per_unit=16))
    add_role(store, name, outcome, geometry="own", column="ref")
    return store


def loader_of(store: Store, *batch_by: str, **options: Any) -> LatentLoader:
    return LatentLoader(
        store,
        columns=["latents", "ref"],
        global_batch_size=4,
        normalize=False,
        seed=1,
        options=LoaderOptions(batch_by=batch_by),
        **options,
    )


def rows_of(batch: Any) -> list[int]:
    return [int(row) for row in batch["row"]]


@examples(5)
@given(outcomes)
def test_a_batch_has_one_shape_and_each_row_comes_as_often_as_without(drawn: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = drawn_store(Path(folder) / "store", drawn)
        seen: list[int] = []
        for batch in loader_of(store, "reference.0", one_pass=True):
            assert isinstance(batch["ref"], torch.Tensor)
            (kind,) = {drawn[row] for row in rows_of(batch)}
            shape = (2, 0, 0) if kind == "absent" else SHAPES[kind]
            assert batch["ref"].shape[1:] == shape
            assert batch["ref.present"].tolist() == [kind != "absent"] * len(batch["row"])
            for row, each in zip(rows_of(batch), batch["ref"], strict=True):
                assert (each == row + 1).all()
            seen += rows_of(batch)
        assert sorted(seen) == [row for row, each in enumerate(drawn) if each != "broken"]


@examples(3)
@given(outcomes, st.integers(1, 9))
def test_a_run_is_the_same_on_any_ranks_and_after_a_resume(drawn: list[Any], cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = drawn_store(Path(folder) / "store", drawn)
        first = loader_of(store, "reference.0")
        whole = [rows_of(batch) for batch in itertools.islice(first, cut + 8)]
        ranks = [loader_of(store, "reference.0", rank=rank, world_size=2) for rank in (0, 1)]
        halves = zip(*(itertools.islice(one, cut + 8) for one in ranks), strict=True)
        assert [rows_of(one) + rows_of(other) for one, other in halves] == whole
        begun = loader_of(store, "ref")
        list(itertools.islice(begun, cut))
        resumed = loader_of(store, "ref")
        resumed.load_state_dict(begun.state_dict())
        assert [rows_of(batch) for batch in itertools.islice(resumed, 8)] == whole[cut:]
        with pytest.raises(ConfigError, match="batch_by"):
            loader_of(store).load_state_dict(begun.state_dict())


def test_a_row_whose_reference_is_broken_has_a_stand_in_of_its_part(tmp_path: Path) -> None:
    drawn = [row % 2 for row in range(NUM_ROWS)]
    drawn[7] = "broken"  # type: ignore[call-overload]  # an outcome, not a shape
    store = drawn_store(tmp_path / "store", drawn)
    replaced = 0
    for batch in itertools.islice(loader_of(store, "reference.0"), 10):
        replaced += batch.facts.num_substituted
        assert 7 not in rows_of(batch)
        assert len({drawn[row] for row in rows_of(batch)}) == 1
    assert replaced == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"batch_by": ["other"]}, "ref.*reference.0.*got 'other'", id="unknown"),
        pytest.param({"batch_by": "ref"}, "must be a list", id="text"),
        pytest.param({"batch_by": ["ref"], "window_frames": 2}, "choose one", id="windows"),
    ],
)
def test_what_cannot_part_a_batch_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    store = drawn_store(tmp_path / "store", [row % 3 for row in range(NUM_ROWS)])
    with pytest.raises(ConfigError, match=message):
        LatentLoader(
            store, columns=["latents", "ref"], global_batch_size=4, options=LoaderOptions(**options)
        )


def test_small_parts_are_told_with_the_way_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = drawn_store(tmp_path / "store", [0] * 38 + [1, 1])
    next(iter(loader_of(store, "reference.0")))
    (told,) = [one for one in caplog.messages if "fewer samples" in one]
    assert "ref 2x6x4 of 32x32 has 2 for batches of 4" in told
    assert "leave batch_by away" in told
