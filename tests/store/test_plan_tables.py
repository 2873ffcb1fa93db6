"""A plan is read one unit at a time, and says exactly the rows that its runs promise."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcache.core.errors import ShardCorruptError
from latentcache.core.media import Bucket
from latentcache.core.units import UnitId, UnitRange
from latentcache.storage import Folder
from latentcache.store.rows import plan_draft
from latentcache.store.rows.plan_draft import write_tables
from latentcache.store.rows.plan_tables import (
    PLAN_SCHEMA,
    REJECTS_SCHEMA,
    find_key,
    iter_rows,
    read_rejects,
    read_retired,
    read_rows,
)
from tests.store.plan_rows import (
    draft_of,
    iter_row_tables,
    key_of,
    path_of,
    reject_table,
    runs_of,
)

SQUARE, WIDE = Bucket(1, 256, 256), Bucket(1, 192, 320)
RUNS = runs_of((SQUARE, 100, 16), (WIDE, 33, 32))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path / "store")


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_draft, "ROWS_PER_GROUP", 40)
    monkeypatch.setattr(plan_draft, "GROUPS_PER_PART", 2)


@pytest.mark.usefixtures("small_groups")
def test_every_unit_reads_its_own_rows(folder: Folder) -> None:
    generation = write_tables(folder, draft_of(RUNS), number=0, parent=None)
    assert len(generation.parts) > 1
    num_rows = 0
    for unit in generation.units(rows_per_unit=8):
        table = read_rows(folder, generation, unit, ["row", "path", "bucket", "shard"])
        assert table.column_names == ["row", "path", "bucket", "shard"]
        expected = range(unit.first_row, unit.first_row + unit.num_rows)
        assert table["row"].to_pylist() == list(expected)
        assert table["path"].to_pylist() == [path_of(unit.unit.shard, row) for row in expected]
        assert set(table["bucket"].to_pylist()) == {str(unit.bucket)}
        num_rows += len(table)
    assert num_rows == generation.num_rows == 133


@pytest.mark.usefixtures("small_groups")
def test_row_groups_hold_whole_shards(folder: Folder) -> None:
    generation = write_tables(folder, draft_of(RUNS), number=0, parent=None)
    seen: set[int] = set()
    for part in generation.parts:
        parquet = pq.ParquetFile(folder.local_path(part.name))
        shards_of_part: list[int] = []
        for group in range(parquet.num_row_groups):
            shards = set(parquet.read_row_group(group)["shard"].to_pylist())
            assert not shards & seen
            seen |= shards
            shards_of_part += sorted(shards)
        assert shards_of_part == list(range(part.first_shard, part.first_shard + part.num_shards))
    assert seen == set(range(generation.num_shards))


@pytest.mark.usefixtures("small_groups")
def test_reading_a_unit_decodes_one_row_group(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = write_tables(folder, draft_of(RUNS), number=0, parent=None)
    groups: list[int] = []
    original = pq.ParquetFile.read_row_group

    def read_row_group(self: pq.ParquetFile, group: int, **options: object) -> pa.Table:
        groups.append(group)
        return original(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read_row_group)
    for unit in generation.units(rows_per_unit=4):
        if unit.unit.shard == 1:
            read_rows(folder, generation, unit)
    assert len(groups) == 1


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 16)), min_size=1, max_size=4),
    shards_per_table=st.integers(1, 9),
)
def test_parts_do_not_depend_on_how_the_rows_arrive(
    tmp_path_factory: pytest.TempPathFactory,
    counts: list[tuple[int, int]],
    shards_per_table: int,
) -> None:
    folder = Folder.open(tmp_path_factory.mktemp("store"))
    runs = runs_of(*((SQUARE, rows, size) for rows, size in counts))
    rows = iter_row_tables(runs, shards_per_table)
    one = write_tables(folder, draft_of(runs, rows=rows), number=0, parent=None)
    two = write_tables(folder, draft_of(runs), number=0, parent=None)
    assert [part.sha256 for part in one.parts] == [part.sha256 for part in two.parts]
    assert sum(part.num_rows for part in one.parts) == one.num_rows


def test_plain_strings_are_taken_as_buckets(folder: Folder) -> None:
    rows = (
        table.set_column(3, "bucket", table["bucket"].cast(pa.string()))
        for table in iter_row_tables(RUNS)
    )
    generation = write_tables(folder, draft_of(RUNS, rows=rows), number=0, parent=None)
    (table,) = iter_rows(folder, generation)
    assert table.schema.equals(PLAN_SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda rows: rows[:-1], "too few", id="fewer"),
        pytest.param(lambda rows: [*rows, rows[-1]], "got more", id="more"),
        pytest.param(lambda rows: rows[::-1], "another shard", id="order"),
        pytest.param(
            lambda rows: [
                *rows[:-1],
                rows[-1].set_column(0, "key", pa.array(["short"] * len(rows[-1]))),
            ],
            "another key",
            id="key",
        ),
    ],
)
def test_rows_that_are_not_those_of_the_runs_are_refused(folder: Folder, change, message) -> None:
    rows = change(list(iter_row_tables(RUNS)))
    with pytest.raises(ValueError, match=message):
        write_tables(folder, draft_of(RUNS, rows=rows), number=0, parent=None)


def test_runs_with_a_gap_are_refused() -> None:
    runs = (*runs_of((SQUARE, 10, 5)), *runs_of((WIDE, 10, 5), first_shard=3))
    with pytest.raises(ValueError, match="runs must be consecutive, got shard 3 after 1"):
        draft_of(runs)


def test_rejects_and_retired_rows_are_kept_or_absent(folder: Folder) -> None:
    without = write_tables(folder, draft_of(RUNS), number=0, parent=None)
    assert (without.rejects, without.retired) == (None, None)
    assert len(read_rejects(folder, without)) == len(read_retired(folder, without)) == 0
    with_some = write_tables(
        folder,
        draft_of(RUNS, rejects=[reject_table("a"), reject_table("b", "c")]),
        number=0,
        parent=None,
    )
    table = read_rejects(folder, with_some)
    assert table.schema.equals(REJECTS_SCHEMA)
    assert table["path"].to_pylist() == ["a", "b", "c"]
    assert with_some.totals["rows"] + with_some.totals["rejects"] == 133 + 3


def test_an_empty_plan_has_no_parts(folder: Folder) -> None:
    generation = write_tables(
        folder, draft_of((), rejects=[reject_table("a")]), number=0, parent=None
    )
    assert generation.parts == ()
    assert list(iter_rows(folder, generation)) == []


@pytest.mark.usefixtures("small_groups")
def test_a_key_is_found_in_the_newest_generation_that_has_it(folder: Folder) -> None:
    first = write_tables(folder, draft_of(RUNS), number=0, parent=None)
    more = runs_of((SQUARE, 5, 16), first_shard=first.num_shards)
    second = write_tables(folder, draft_of(more), number=1, parent=first.digest)
    position = find_key(folder, [first, second], key_of(8, 0))
    assert (position.generation, position.shard, position.row) == (0, 8, 0)
    position = find_key(folder, [first, second], key_of(first.num_shards, 4))
    assert (position.generation, position.row) == (1, 4)
    assert find_key(folder, [first, second], "0" * 20) is None


def test_a_shard_of_another_plan_is_refused(folder: Folder) -> None:
    generation = write_tables(folder, draft_of(RUNS), number=0, parent=None)
    unit = UnitRange(unit=UnitId(99, 0), generation=0, bucket=SQUARE, first_row=0, num_rows=1)
    with pytest.raises(ShardCorruptError, match="got 99"):
        read_rows(folder, generation, unit)
    long = UnitRange(unit=UnitId(0, 0), generation=0, bucket=SQUARE, first_row=10, num_rows=9)
    with pytest.raises(ShardCorruptError, match="got 10 to 18 of shard 0"):
        read_rows(folder, generation, long)
