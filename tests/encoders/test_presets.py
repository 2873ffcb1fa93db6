"""Declared facts give the bytes of well-known latents, before any weight is loaded."""

import re

import pytest

from latentcache.core.media import Bucket
from latentcache.encoders import list_encoders

FACTS = {facts.name: facts for facts in list_encoders()}


@pytest.mark.parametrize(
    ("name", "bucket", "policy", "num_bytes"),
    [
        ("sd", "1x256x256", "mode", 8 * 1024),
        ("sdxl", "1x1024x1024", "moments", 2 * 4 * 128 * 128 * 2),
        ("sd3", "1x1024x1024", "mode", 512 * 1024),
        ("flux", "1x512x512", "sample", 16 * 64 * 64 * 2),
        ("flux2", "1x256x256", "mode", 64 * 1024),
        ("dc", "1x256x256", "mode", 4 * 1024),
        ("wan", "81x480x832", "mode", 16 * 21 * 60 * 104 * 2),
        ("wan22", "81x704x1280", "mode", 48 * 21 * 44 * 80 * 2),
        ("ltx", "17x512x768", "moments", (128 + 1) * 3 * 16 * 24 * 2),
        ("dct", "1x256x256", "moments", 16 * 32 * 32 * 2),
    ],
)
def test_bytes_per_sample(name: str, bucket: str, policy: str, num_bytes: int) -> None:
    assert FACTS[name].bytes_per_sample(Bucket.parse(bucket), None, policy) == num_bytes


def test_storage_dtype_scales_the_bytes() -> None:
    bucket = Bucket(1, 256, 256)
    half = FACTS["sd"].bytes_per_sample(bucket, "float16")
    assert FACTS["sd"].bytes_per_sample(bucket, "float32") == 2 * (half or 0)


@pytest.mark.parametrize("name", ["kl", "tiny"])
def test_bytes_are_unknown_where_the_weights_decide(name: str) -> None:
    assert FACTS[name].bytes_per_sample(Bucket(1, 256, 256)) is None


@pytest.mark.parametrize(
    ("name", "bucket", "reason"),
    [
        ("dc", "1x264x256", "is not a multiple of 32x32 px"),
        ("flux2", "1x264x256", "is not a multiple of 16x16 px"),
        ("sdxl", "17x256x256", "takes single images"),
        ("wan", "16x256x256", r"takes 1 \+ k \* 4"),
        ("ltx", "13x256x256", r"takes 1 \+ k \* 8"),
    ],
)
def test_misfit_is_named(name: str, bucket: str, reason: str) -> None:
    refusal = FACTS[name].refusal(Bucket.parse(bucket))
    assert refusal is not None
    assert re.search(reason, refusal)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux", "flux2", "dc", "wan", "ltx", "dct"])
def test_default_buckets_fit_nearly_every_encoder(name: str) -> None:
    num_frames = 17 if FACTS[name].spec.modality == "video" else 1
    assert FACTS[name].refusal(Bucket(num_frames, 512, 768)) is None


def test_every_row_says_its_licence_and_what_it_needs() -> None:
    for facts in FACTS.values():
        assert facts.spec.weights_licence
        assert facts.title
        assert facts.needs_weights == (facts.name not in ("dct", "dct-video", "mask"))
