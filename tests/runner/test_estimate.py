"""What an estimate is made of: the plan's runs, and what encoders declare."""

from dataclasses import replace

import pytest

from latentcache.core.frames import FrameRule
from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun
from latentcache.encoders import EncoderFacts, list_encoders
from latentcache.runner.calibration import Calibration, encoder_estimate

FACTS = {facts.name: facts for facts in list_encoders()}


def run(bucket: Bucket, num_rows: int = 10) -> BucketRun:
    return BucketRun(bucket=bucket, first_shard=0, num_rows=num_rows, rows_per_shard=512)


def changed(name: str, **values: object) -> EncoderFacts:
    facts = FACTS[name]
    return replace(facts, spec=replace(facts.spec, **values))  # type: ignore[arg-type]  # a test's


def test_bytes_are_those_of_every_sample_of_the_runs() -> None:
    runs = [run(Bucket(1, 512, 512), 1000), run(Bucket(1, 448, 576))]
    found = encoder_estimate("sdxl", runs, FACTS["sdxl"].bytes_in_tar)
    cells = 1000 * 64 * 64 + 10 * 56 * 72
    assert cells * 16 < found.bytes < cells * 16 * 1.02
    assert (found.hours, found.refused) == (None, ())


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
    size = changed("wan", frame_rule=rule).bytes_in_tar(Bucket(num_frames, 480, 832))
    payload = latent_frames * 60 * 104 * 16 * 2 * 2
    assert size is not None
    assert size % 512 == 0
    assert payload + 512 < size <= payload + 512 + 512


@pytest.mark.parametrize(
    ("facts", "refused"),
    [
        pytest.param(FACTS["sdxl"], ("9x64x64", "17x64x64"), id="pictures-alone"),
        pytest.param(changed("wan", frame_rule=FrameRule(first=1, step=8)), (), id="8k+1"),
        pytest.param(
            changed("wan", frame_rule=FrameRule(first=4, step=4)),
            ("1x64x64", "9x64x64", "17x64x64"),
            id="groups-of-four",
        ),
        pytest.param(
            changed("wan", multiple_of=(128, 128)),
            ("1x64x64", "9x64x64", "17x64x64"),
            id="another-multiple",
        ),
    ],
)
def test_buckets_that_do_not_fit_are_named_and_cost_nothing(
    facts: EncoderFacts, refused: tuple[str, ...]
) -> None:
    runs = [run(Bucket(num_frames, 64, 64)) for num_frames in (1, 9, 17)]
    found = encoder_estimate(facts.name, runs, facts.bytes_in_tar)
    assert found.refused == refused
    fitting = [each.bucket for each in runs if str(each.bucket) not in refused]
    assert found.bytes == sum(10 * (facts.bytes_in_tar(bucket) or 0) for bucket in fitting)


def test_decoding_goes_by_frames_and_encoding_by_pixels() -> None:
    measured = Calibration(
        encoder="dct-video",
        bucket=Bucket(9, 64, 64),
        picture_decode_s=0.5,
        frame_decode_s=0.25,
        encode_s=9.0,
        num_cpus=2,
        num_gpus=0,
    )
    runs = [run(Bucket(1, 64, 64), 4), run(Bucket(17, 64, 64), 2)]
    decode_s, encode_s = 4 * 0.5 + 2 * 17 * 0.25, (4 * 1 + 2 * 17) * 1.0
    assert measured.total_s(runs) == (decode_s + encode_s) / 2
    on_gpus = replace(measured, num_gpus=1)
    assert on_gpus.total_s(runs) == max(decode_s / 2, encode_s)
