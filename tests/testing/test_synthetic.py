from pathlib import Path

import numpy as np
import pytest

from latentcache.core.units import UnitId
from latentcache.store import verify_snapshot
from latentcache.testing.synthetic import SyntheticColumn, synthetic_store, unit_values


@pytest.mark.parametrize(
    ("shape", "bucket"), [((4, 8, 6), "1x64x48"), ((2, 3, 4, 4), "9x32x32")], ids=["image", "clip"]
)
def test_a_synthetic_store_is_a_whole_store(
    tmp_path: Path, shape: tuple[int, ...], bucket: str
) -> None:
    snapshot = synthetic_store(
        tmp_path / "store", num_samples=50, shape=shape, rows_per_shard=20, seed=4
    )
    assert verify_snapshot(snapshot).ok
    column = snapshot.column("latents")
    assert (column.num_encoded, column.num_quarantined, column.num_missing) == (50, 0, 0)
    assert [str(run.bucket) for run in snapshot.generations[0].runs] == [bucket]
    assert len(column.tar_urls()) == 3


def test_its_values_can_be_drawn_again(tmp_path: Path) -> None:
    snapshot = synthetic_store(tmp_path / "store", num_samples=9, rows_per_shard=5, seed=4)
    view = snapshot.column("latents")
    column = SyntheticColumn(seed=4)
    for entry in view.units():
        values = unit_values(column, entry.unit)["z"]
        for row in range(entry.unit.num_rows):
            stored = view.read_row(entry.unit.unit.shard, row).fields["z"]
            assert np.array_equal(stored, values[row])
    assert [entry.unit.unit for entry in view.units()] == [UnitId(0, 0), UnitId(1, 0)]
