import json

import pytest

from latentcache.core.frames import FrameRule
from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun
from latentcache.plan.plan_estimate import EncoderCost, estimate

RUNS = (
    BucketRun(bucket=Bucket(1, 512, 512), first_shard=0, num_rows=1000, rows_per_shard=512),
    BucketRun(bucket=Bucket(1, 448, 576), first_shard=2, num_rows=10, rows_per_shard=512),
)
SDXL = EncoderCost(name="sdxl", bytes_per_cell=16, total_s=101.0)


def test_sums_are_those_of_the_runs() -> None:
    found = estimate(RUNS, {"too_small": 3}, [SDXL])
    assert (found.num_samples, found.num_shards) == (1010, 3)
    assert [bucket.num_shards for bucket in found.buckets] == [2, 1]
    assert found.encoders[0].hours == 101 / 3600
    cells = 1000 * 64 * 64 + 10 * 56 * 72
    assert cells * 16 < found.encoders[0].bytes < cells * 16 * 1.02
    assert json.loads(json.dumps(found.as_dict()))["rejects"] == {"too_small": 3}


def test_bytes_are_whole_tar_blocks() -> None:
    assert SDXL.sample_bytes(Bucket(1, 512, 512)) == 512 + 65536 + 512


@pytest.mark.parametrize(
    ("rule", "num_frames", "latent_frames"),
    [
        pytest.param(FrameRule(first=1, step=4), 1, 1, id="a-picture-in-a-causal-encoder"),
        pytest.param(FrameRule(first=1, step=4), 17, 5, id="4k+1"),
        pytest.param(FrameRule(first=1, step=8, latent_step=2), 17, 5, id="8k+1-by-two"),
        pytest.param(FrameRule(first=1, step=6), 85, 15, id="6k+1"),
        pytest.param(FrameRule(first=4, step=4), 16, 4, id="4k"),
        pytest.param(FrameRule(), 14, 14, id="per-frame"),
    ],
)
def test_a_clip_takes_the_bytes_of_its_latent_frames(
    rule: FrameRule, num_frames: int, latent_frames: int
) -> None:
    wan = EncoderCost(name="w", bytes_per_cell=64, takes_clips=True, frame_rule=rule)
    payload = 200 + latent_frames * 60 * 104 * 64
    blocks = (payload + 511) // 512
    assert wan.sample_bytes(Bucket(num_frames, 480, 832)) == 512 + 512 * blocks


def test_clips_that_do_not_fit_are_named_and_cost_nothing() -> None:
    runs = tuple(
        BucketRun(bucket=Bucket(t, 64, 64), first_shard=t, num_rows=10, rows_per_shard=16)
        for t in (1, 9, 17)
    )
    sdxl = EncoderCost(name="sdxl", bytes_per_cell=16)
    mochi = EncoderCost(
        name="m", bytes_per_cell=16, takes_clips=True, frame_rule=FrameRule(first=1, step=8)
    )
    groups = EncoderCost(
        name="g", bytes_per_cell=16, takes_clips=True, frame_rule=FrameRule(first=4, step=4)
    )
    found = estimate(runs, {}, [sdxl, mochi, groups]).encoders
    assert [each.refused for each in found] == [
        ("9x64x64", "17x64x64"),
        (),
        ("1x64x64", "9x64x64", "17x64x64"),
    ]
    assert found[0].bytes == 10 * sdxl.sample_bytes(Bucket(1, 64, 64))
    assert found[2].bytes == 0


def test_buckets_that_do_not_fit_are_named() -> None:
    dino = EncoderCost(name="p", bytes_per_cell=2, multiple_of=(512, 512))
    fixed = EncoderCost(name="f", bytes_per_cell=2, fixed_size=(448, 576))
    small = EncoderCost(name="s", bytes_per_cell=2, max_size_px=500)
    found = estimate(RUNS, {}, [dino, fixed, small])
    assert [e.refused for e in found.encoders] == [
        ("1x448x576",),
        ("1x512x512",),
        ("1x512x512", "1x448x576"),
    ]
    assert found.encoders[2].bytes == 0
    assert found.encoders[0].hours is None
