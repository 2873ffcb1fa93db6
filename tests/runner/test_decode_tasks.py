"""What a decode task reads and decodes: each file once, however many of its rows it was given."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentcache.core.media import MID_GREY, Bucket, Geometry, SourceRef
from latentcache.decode import ImageLimits
from latentcache.runner import EncodeOptions
from latentcache.runner.decode import decode_tasks
from latentcache.runner.decode.decode_tasks import (
    DecodeOrder,
    DecodeRow,
    DecodeSettings,
    decode_rows,
)
from latentcache.storage import Folder

BUCKET = Bucket(1, 32, 32)


def cut(left_px: int, *, is_flipped: bool = False, resized_px: tuple[int, int] = (64, 32)):
    return Geometry(
        source_width_px=128,
        source_height_px=64,
        resized_width_px=resized_px[0],
        resized_height_px=resized_px[1],
        crop_left_px=left_px,
        crop_top_px=0,
        is_flipped=is_flipped,
    )


GEOMETRIES = (cut(16), cut(16, is_flipped=True), cut(0), cut(32, is_flipped=True))


@pytest.fixture
def order(tmp_path: Path) -> DecodeOrder:
    """Two pictures of four cuts each, and one that is no picture."""
    for name, seed in (("a", 0), ("b", 1)):
        coarse = np.random.default_rng(seed).integers(0, 256, (8, 16, 3), np.uint8)
        Image.fromarray(coarse).resize((128, 64)).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    sources = [SourceRef(path=f"{name}.png") for name in ("a", "b", "broken")]
    rows = [(source, geometry) for source in sources for geometry in GEOMETRIES]
    return DecodeOrder(
        corpus=Folder.open(tmp_path),
        bucket=BUCKET,
        rows=tuple(
            DecodeRow(row=row, key=f"{row:020d}", source=source, geometry=geometry)
            for row, (source, geometry) in enumerate(rows)
        ),
        settings=DecodeSettings(
            transform=EncodeOptions().transform(takes_clips=False),
            limits=ImageLimits(),
            time_limit_s=30.0,
        ),
    )


def test_rows_of_one_picture_are_decoded_once_and_are_what_each_is_alone(
    order: DecodeOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [decode_rows(replace(order, rows=(row,))) for row in order.rows]
    num_cuts: list[int] = []
    plain = decode_tasks.decode_cuts

    def counted(*args, **options):
        num_cuts.append(len(args[2]))
        return plain(*args, **options)

    monkeypatch.setattr(decode_tasks, "decode_cuts", counted)
    together = decode_rows(order)
    assert num_cuts == [4, 4, 4]
    assert together.source_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    for at, each in enumerate(alone):
        assert np.array_equal(together.pixels_NTHWC[at], each.pixels_NTHWC[0])
        assert together.source_digests[at] == each.source_digests[at]
        assert together.rejects.get(at) == each.rejects.get(at)
    assert sorted(together.rejects) == [8, 9, 10, 11]
    assert (together.pixels_NTHWC[8:] == MID_GREY).all()


def test_a_picture_of_two_sizes_is_read_once_and_decoded_for_each(order: DecodeOrder) -> None:
    other = cut(0, resized_px=(72, 36))
    mixed = replace(
        order,
        rows=tuple(replace(row, geometry=other) if row.row % 2 else row for row in order.rows),
    )
    alone = [decode_rows(replace(mixed, rows=(row,))) for row in mixed.rows]
    together = decode_rows(mixed)
    assert together.source_bytes == decode_rows(order).source_bytes
    for at, each in enumerate(alone):
        assert np.array_equal(together.pixels_NTHWC[at], each.pixels_NTHWC[0])


def test_a_retired_cut_is_left_out_and_the_others_are_not(order: DecodeOrder) -> None:
    rows = (replace(order.rows[0], is_retired=True), *order.rows[1:4])
    found = decode_rows(replace(order, rows=rows))
    assert list(found.rejects) == [0]
    assert sorted(found.source_digests) == [1, 2, 3]
