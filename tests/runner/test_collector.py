"""Which rows share a batch is fixed by the plan, however decoding was cut into tasks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.media import MID_GREY, Bucket, Geometry, SourceRef
from latentcache.runner.decode.batch_collector import BatchCollector
from latentcache.runner.decode.decode_tasks import DecodedRows, DecodeRow

_BUCKET = Bucket(1, 2, 2)
_GEOMETRY = Geometry(
    source_width_px=2,
    source_height_px=2,
    resized_width_px=2,
    resized_height_px=2,
    crop_left_px=0,
    crop_top_px=0,
)


def _decoded(rows: list[int]) -> DecodedRows:
    pixels = np.stack([np.full((1, 2, 2, 3), row % 100, np.uint8) for row in rows])
    return DecodedRows(rows=tuple(rows), pixels_NTHWC=pixels)


@given(
    first_row=st.integers(0, 50),
    num_rows=st.integers(1, 60),
    batch_size=st.sampled_from([1, 2, 8, 32]),
    cuts=st.lists(st.integers(1, 10), min_size=60, max_size=60),
)
def test_batches_are_cut_by_row_number_alone(
    first_row: int, num_rows: int, batch_size: int, cuts: list[int]
) -> None:
    numbers = list(range(first_row, first_row + num_rows))
    rows = [
        DecodeRow(row=row, key=f"{row:020d}", source=SourceRef(path="x"), geometry=_GEOMETRY)
        for row in numbers
    ]
    collector = BatchCollector(rows, _BUCKET, batch_size)
    found, pending = [], list(numbers)
    for cut in cuts:
        if not pending:
            break
        task, pending = pending[:cut], pending[cut:]
        for batch, pixels in collector.add(_decoded(task)):
            found.append([each.row for each in batch.rows])
            assert pixels.shape == (batch_size, 1, 2, 2, 3)
            assert [int(one[0, 0, 0, 0]) for one in pixels[: len(batch.rows)]] == [
                each.row % 100 for each in batch.rows
            ]
            assert (pixels[len(batch.rows) :] == MID_GREY).all()
    assert found == [
        numbers[start : start + batch_size] for start in range(0, num_rows, batch_size)
    ]
