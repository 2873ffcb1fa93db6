"""Annotations stay aligned with the plan's rows and are drawn at random in microseconds."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcache.core.errors import StoreError
from latentcache.core.media import Bucket
from latentcache.storage import Folder
from latentcache.store.format.records import Generation
from latentcache.store.rows import annotations
from latentcache.store.rows.annotations import (
    Annotation,
    PlanIndex,
    list_annotations,
    open_annotation,
    write_annotations,
)
from latentcache.store.rows.plan_draft import write_tables
from tests.store.plan_rows import draft_of, runs_of

RUNS = runs_of((Bucket(1, 256, 256), 50, 16), (Bucket(1, 192, 320), 9, 32))
PLACES = [
    (shard, row)
    for run in RUNS
    for shard in range(run.first_shard, run.first_shard + run.num_shards)
    for row in range(run.rows_in_shard(shard))
]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path / "store")


@pytest.fixture
def generation(folder: Folder) -> Generation:
    return write_tables(folder, draft_of(RUNS), number=0, parent=None)


def values_at(places: list[tuple[int, int]], values: list[object]) -> pa.Table:
    return pa.table(
        {
            "shard": pa.array([shard for shard, _ in places], pa.int32()),
            "row": pa.array([row for _, row in places], pa.int32()),
            "value": values,
        }
    )


def caption(shard: int, row: int) -> str:
    return f"a photo of {shard} über {row}"


@settings(max_examples=30, deadline=None)
@given(present=st.sets(st.integers(0, len(PLACES) - 1)), cut=st.integers(1, 20))
def test_every_row_gets_its_own_value_or_none(
    tmp_path_factory: pytest.TempPathFactory, present: set[int], cut: int
) -> None:
    folder = Folder.open(tmp_path_factory.mktemp("store"))
    generation = write_tables(folder, draft_of(RUNS), number=0, parent=None)
    kept = [PLACES[index] for index in sorted(present)]
    tables = [
        values_at(kept[at : at + cut], [caption(*place) for place in kept[at : at + cut]])
        for at in range(0, len(kept), cut)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(annotations, "ROWS_PER_BATCH", 7)
        write_annotations(folder, generation, "caption", tables)
        opened = open_annotation(folder, generation, "caption")
        assert len(opened) == len(PLACES)
        assert opened.num_values == len(kept)
        order = np.random.default_rng(0).permutation(len(PLACES))
        shards, rows = np.array(PLACES)[order].T
        found = opened.take(shards, rows).to_pylist()
        expected = [caption(*PLACES[at]) if at in present else None for at in order]
        assert found == expected
        assert opened.texts(order) == expected
        assert [opened.value(*PLACES[at]) for at in order[:5]] == expected[:5]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([["a", "b"], []], id="several-captions"),
        pytest.param([3, None], id="label"),
        pytest.param([0.5, 1.5], id="score"),
        pytest.param([{"width": 3, "tag": "x"}, None], id="any-manifest-field"),
    ],
)
def test_values_of_any_type_survive(
    folder: Folder, generation: Generation, values: list[object]
) -> None:
    write_annotations(folder, generation, "field", [values_at(PLACES[:2], values)])
    opened = open_annotation(folder, generation, "field")
    assert [opened.value(*place) for place in PLACES[:3]] == [*values, None]


def test_tables_of_nothing_but_nulls_take_the_type_of_the_others(
    folder: Folder, generation: Generation
) -> None:
    tables = [
        values_at(PLACES[:2], [None, None]),
        values_at(PLACES[2:3], ["x"]),
        values_at(PLACES[3:4], [None]),
    ]
    write_annotations(folder, generation, "caption", tables)
    opened = open_annotation(folder, generation, "caption")
    assert opened.type == pa.string()
    assert [opened.value(*place) for place in PLACES[1:5]] == [None, "x", None, None]
    write_annotations(folder, generation, "nothing", [])
    assert open_annotation(folder, generation, "nothing").num_values == 0


def test_tables_of_two_types_are_refused(folder: Folder, generation: Generation) -> None:
    tables = [values_at(PLACES[:1], [3]), values_at(PLACES[1:2], ["three"])]
    with pytest.raises(ValueError, match="values must all be int64, got string"):
        write_annotations(folder, generation, "label", tables)
    assert list_annotations(folder) == []


def test_the_newest_revision_of_the_generation_serves(
    folder: Folder, generation: Generation
) -> None:
    other = write_tables(
        folder, draft_of(runs_of((RUNS[0].bucket, 3, 16), first_shard=5)), number=1, parent=None
    )
    write_annotations(folder, generation, "caption", [values_at(PLACES[:1], ["old"])])
    write_annotations(folder, generation, "caption", [values_at(PLACES[:1], ["new"])])
    write_annotations(folder, other, "caption", [values_at([(5, 1)], ["grown"])])
    assert [file.rev for file in list_annotations(folder, "caption")] == [0, 1, 2]
    assert open_annotation(folder, generation, "caption").value(0, 0) == "new"
    assert open_annotation(folder, other, "caption").value(5, 1) == "grown"
    oldest = Annotation(folder, generation, list_annotations(folder)[0])
    assert oldest.value(0, 0) == "old"


def test_local_files_are_mapped_not_read(folder: Folder, generation: Generation) -> None:
    table = values_at(PLACES, ["x" * 10_000] * len(PLACES))
    write_annotations(folder, generation, "caption", [table])
    before = pa.total_allocated_bytes()
    opened = open_annotation(folder, generation, "caption")
    assert opened.value(0, 0) == "x" * 10_000
    assert pa.total_allocated_bytes() - before < 100_000


def test_an_unknown_annotation_is_none(folder: Folder, generation: Generation) -> None:
    assert open_annotation(folder, generation, "caption") is None
    assert list_annotations(folder) == []


@pytest.mark.parametrize("place", [(0, 16), (0, -1), (5, 0), (-1, 0), (4, 9)])
def test_a_row_that_is_not_planned_is_refused(
    folder: Folder, generation: Generation, place: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="shard and row must be planned, got"):
        write_annotations(folder, generation, "caption", [values_at([place], ["x"])])
    assert list_annotations(folder) == []


@pytest.mark.parametrize("places", [[(0, 1), (0, 0)], [(0, 1), (0, 1)]])
def test_rows_out_of_order_are_refused(
    folder: Folder, generation: Generation, places: list[tuple[int, int]]
) -> None:
    one_table = [values_at(places, ["a", "b"])]
    two_tables = [values_at([place], ["a"]) for place in places]
    for tables in (one_table, two_tables):
        with pytest.raises(ValueError, match="rows must ascend"):
            write_annotations(folder, generation, "caption", tables)


def test_a_damaged_file_is_one_sentence(folder: Folder, generation: Generation) -> None:
    written = write_annotations(folder, generation, "caption", [values_at(PLACES[:1], ["x"])])
    path = folder.local_path(written.name)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match="annotation must be an Arrow file, got"):
        open_annotation(folder, generation, "caption")


def test_a_plan_without_rows_has_no_places() -> None:
    index = PlanIndex(())
    assert index.num_rows == 0
    with pytest.raises(ValueError, match="must be planned"):
        index.places(np.array([0]), np.array([0]))
