import json

from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun
from latentcache.plan.estimate import EncoderCost, estimate

RUNS = (
    BucketRun(bucket=Bucket(1, 512, 512), first_shard=0, num_rows=1000, rows_per_shard=512),
    BucketRun(bucket=Bucket(1, 448, 576), first_shard=2, num_rows=10, rows_per_shard=512),
)
SDXL = EncoderCost(name="sdxl", bytes_per_cell=16, samples_per_s=10.0)


def test_sums_are_those_of_the_runs() -> None:
    found = estimate(RUNS, {"too_small": 3}, [SDXL])
    assert (found.num_samples, found.num_shards) == (1010, 3)
    assert [bucket.num_shards for bucket in found.buckets] == [2, 1]
    assert found.encoders[0].hours == 1010 / 10 / 3600
    cells = 1000 * 64 * 64 + 10 * 56 * 72
    assert cells * 16 < found.encoders[0].bytes < cells * 16 * 1.02
    assert json.loads(json.dumps(found.as_dict()))["rejects"] == {"too_small": 3}


def test_bytes_are_whole_tar_blocks() -> None:
    assert SDXL.sample_bytes(Bucket(1, 512, 512)) == 512 + 65536 + 512


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
