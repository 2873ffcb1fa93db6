import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.plan.placement.buckets import (
    aspect_of,
    bucket_table,
    choose_bucket,
    fit,
    merge_buckets,
)
from latentcache.plan.plan_options import PlanOptions


def fitted(width: int, height: int, bucket: Bucket, options: PlanOptions) -> Geometry | str:
    try:
        return fit(width, height, bucket, options)
    except MediaError as error:
        return error.code


LENGTHS = st.integers(1, 20_000)
RESOLUTIONS = st.sampled_from([256, 320, 512, 768, 1024, 1536])


def test_table_at_512_is_the_one_that_trainers_know() -> None:
    sizes = [(b.width_px, b.height_px) for b in bucket_table(PlanOptions(max_aspect=4.0))]
    assert sizes == [
        *((256, 1024), (256, 960), (256, 896), (256, 832), (320, 768), (320, 704)),
        *((384, 640), (448, 576), (512, 512), (576, 448), (640, 384)),
        *((704, 320), (768, 320), (832, 256), (896, 256), (960, 256), (1024, 256)),
    ]


def test_square_has_one_bucket() -> None:
    assert bucket_table(PlanOptions(square=True)) == (Bucket(1, 512, 512),)


@given(
    resolution=RESOLUTIONS,
    max_aspect=st.floats(1.0, 5.0),
    step=st.sampled_from([0, 8, 16, 64]),
)
def test_buckets_keep_the_budget_the_step_and_the_aspect(
    resolution: int, max_aspect: float, step: int
) -> None:
    options = PlanOptions(resolution_px=resolution, max_aspect=max_aspect, step_px=step)
    table = bucket_table(options)
    aspects = [aspect_of(bucket) for bucket in table]
    assert aspects == sorted(set(aspects))
    assert {Bucket(1, b.width_px, b.height_px) for b in table} == set(table)
    for bucket in table:
        assert bucket.height_px % options.resolved_step_px == 0
        assert bucket.width_px % options.resolved_step_px == 0
        assert bucket.num_pixels <= resolution**2
        assert max(aspect_of(bucket), 1 / aspect_of(bucket)) <= max_aspect + 1e-9


@given(width=LENGTHS, height=LENGTHS, resolution=RESOLUTIONS)
def test_chosen_bucket_is_nearest_by_ratio(width: int, height: int, resolution: int) -> None:
    table = bucket_table(PlanOptions(resolution_px=resolution, max_aspect=3.0))

    def distance(bucket: Bucket) -> float:
        return abs(math.log(width / height) - math.log(aspect_of(bucket)))

    chosen = choose_bucket(width, height, table)
    assert distance(chosen) <= min(map(distance, table)) + 1e-9


def test_between_two_buckets_the_squarer_wins() -> None:
    table = (Bucket(1, 4, 1), Bucket(1, 2, 2), Bucket(1, 1, 4))
    assert choose_bucket(200, 100, table) == table[1]
    assert choose_bucket(100, 200, table) == table[1]
    assert choose_bucket(100, 100, (table[0], table[2])) == table[2]


@given(width=LENGTHS, height=LENGTHS, resolution=RESOLUTIONS)
def test_crop_lies_inside_a_resized_picture_of_the_same_aspect(
    width: int, height: int, resolution: int
) -> None:
    options = PlanOptions(resolution_px=resolution, max_upscale=1e9, max_crop=0.999)
    bucket = choose_bucket(width, height, bucket_table(options))
    geometry = fitted(width, height, bucket, options)
    assume(geometry != "too_narrow")
    assert isinstance(geometry, Geometry)
    assert geometry == fit(width, height, bucket, options)
    assert (geometry.source_width_px, geometry.source_height_px) == (width, height)
    left, top = geometry.crop_left_px, geometry.crop_top_px
    resized_width, resized_height = geometry.resized_width_px, geometry.resized_height_px
    assert 0 <= left <= left + bucket.width_px <= resized_width
    assert 0 <= top <= top + bucket.height_px <= resized_height
    assert resized_width == bucket.width_px or resized_height == bucket.height_px
    scale = max(bucket.width_px / width, bucket.height_px / height)
    assert abs(resized_width - width * scale) <= 0.5 + 1e-6
    assert abs(resized_height - height * scale) <= 0.5 + 1e-6
    assert abs(left - (resized_width - bucket.width_px - left)) <= 1


@given(width=LENGTHS, height=LENGTHS, limit=st.floats(1.0, 4.0))
def test_nothing_is_enlarged_past_the_limit(width: int, height: int, limit: float) -> None:
    options = PlanOptions(resolution_px=256, max_upscale=limit, max_crop=0.99)
    bucket = choose_bucket(width, height, bucket_table(options))
    scale = max(bucket.width_px / width, bucket.height_px / height)
    outcome = fitted(width, height, bucket, options)
    assume(outcome != "too_narrow")
    assert (outcome == "too_small") == (scale > limit) or abs(scale - limit) < 1e-9


@pytest.mark.parametrize(
    ("size", "code"),
    [
        pytest.param((4096, 1), "too_narrow", id="a-row"),
        pytest.param((1, 1), "too_small", id="one-pixel"),
        pytest.param((2100, 1000), "too_narrow", id="over-half-cropped"),
    ],
)
def test_refusals_say_the_size_and_the_option(size: tuple[int, int], code: str) -> None:
    options = PlanOptions(square=True)
    with pytest.raises(MediaError, match=rf"{size[0]} x {size[1]} px .*\(max_") as caught:
        fit(*size, Bucket(1, 512, 512), options)
    assert caught.value.code == code


def test_exactly_half_may_be_cropped() -> None:
    geometry = fit(2000, 1000, Bucket(1, 512, 512), PlanOptions(square=True))
    assert (geometry.resized_width_px, geometry.crop_left_px) == (1024, 256)


TABLE = bucket_table(PlanOptions(max_aspect=4.0))


@given(counts=st.dictionaries(st.sampled_from(TABLE), st.integers(0, 50)), least=st.integers(1, 60))
def test_merging_leaves_no_small_bucket_and_loses_no_sample(
    counts: dict[Bucket, int], least: int
) -> None:
    target = merge_buckets(counts, least)
    filled = {bucket for bucket, count in counts.items() if count}
    assert set(target) == filled
    assert all(target[new] == new for new in target.values())
    sizes = {new: sum(counts[o] for o in filled if target[o] == new) for new in target.values()}
    assert len(sizes) <= 1 or min(sizes.values()) >= least
    assert target == merge_buckets(dict(reversed(counts.items())), least)
    if least == 1:
        assert all(old == new for old, new in target.items())


def test_small_bucket_goes_to_its_neighbour() -> None:
    table = bucket_table(PlanOptions())
    counts = dict(zip(table, [100, 3, 50, 2, 9], strict=True))
    target = merge_buckets(counts, 8)
    assert target[table[1]] in (table[0], table[2])
    assert target[table[3]] in (table[2], table[4])
    assert {target[table[0]], target[table[2]], target[table[4]]} == {table[0], table[2], table[4]}
