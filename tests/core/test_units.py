"""Shards and units are arithmetic: every planned row lies in exactly one unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun, UnitId

_RUNS = st.builds(
    BucketRun,
    bucket=st.sampled_from([Bucket(1, 64, 64), Bucket(9, 64, 64)]),
    first_shard=st.integers(0, 1000),
    num_rows=st.integers(1, 500),
    rows_per_shard=st.sampled_from([1, 2, 8, 64]),
)


@given(_RUNS, st.sampled_from([1, 2, 4, 16, 128]))
def test_units_cover_every_row_once(run: BucketRun, rows_per_unit: int) -> None:
    units = run.units(generation=0, rows_per_unit=rows_per_unit)
    covered = [
        (unit.unit.shard, row)
        for unit in units
        for row in range(unit.first_row, unit.first_row + unit.num_rows)
    ]
    expected = [
        (run.first_shard + row // run.rows_per_shard, row % run.rows_per_shard)
        for row in range(run.num_rows)
    ]
    assert covered == expected
    assert all(unit.unit.part == unit.first_row // rows_per_unit for unit in units)
    is_long = run.bucket.num_frames > 1 and run.rows_per_shard == 1
    assert {unit.is_long for unit in units} == {is_long}


@given(st.integers(0, 99_999_999), st.integers(0, 9999))
def test_unit_names_are_read_back(shard: int, part: int) -> None:
    assert UnitId.parse(str(UnitId(shard, part))) == UnitId(shard, part)


def test_a_shard_of_another_run_is_refused() -> None:
    run = BucketRun(bucket=Bucket(1, 8, 8), first_shard=3, num_rows=5, rows_per_shard=4)
    assert [run.rows_in_shard(shard) for shard in (3, 4)] == [4, 1]
    with pytest.raises(ValueError, match="shard must be 3 to 4, got 5"):
        run.rows_in_shard(5)


@pytest.mark.parametrize("text", ["1-2", "00000001-00001", "x", ""])
def test_other_names_are_no_units(text: str) -> None:
    with pytest.raises(ValueError, match="unit must be"):
        UnitId.parse(text)
