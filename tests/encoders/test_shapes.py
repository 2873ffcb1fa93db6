"""Shapes follow from spec and bucket; a batch that does not fit never reaches a model."""

from dataclasses import replace

import pytest
import torch

from latentcache.core.errors import EncoderError
from latentcache.core.fields import Field
from latentcache.core.media import Bucket
from latentcache.encoders import SampleMeta, check_batch, field_shape, list_encoders
from latentcache.encoders.spec import Codebook

SPECS = {facts.name: facts.spec for facts in list_encoders()}


def field(axes: str, *, channels: int | None = None, broadcast: str = "") -> Field:
    return Field(
        name="f", kind="aux", axes=axes, channels=channels, dtype="float16", broadcast=broadcast
    )


def test_grid_follows_factor_and_frame_rule() -> None:
    bucket = Bucket(17, 64, 96)
    assert field_shape(SPECS["wan"], field("CTHW", channels=16), bucket) == (16, 5, 8, 12)
    shared = field("CTHW", channels=16, broadcast="C")
    assert field_shape(SPECS["wan"], shared, bucket) == (1, 5, 8, 12)


def test_codebooks_count_their_axis() -> None:
    spec = replace(SPECS["dct"], codebook=Codebook(size=1024, num_codebooks=9))
    assert field_shape(spec, field("QHW"), Bucket(1, 64, 64)) == (9, 8, 8)


def test_tokens_need_a_probe() -> None:
    with pytest.raises(EncoderError, match="measure N with a probe"):
        field_shape(SPECS["dct"], field("NC", channels=8), Bucket(1, 64, 64))


@pytest.mark.parametrize(
    ("shape", "num_metas", "sentence"),
    [
        ((2, 3, 1, 64, 64), 2, "pixels must be BCHW with C=3"),
        ((2, 4, 64, 64), 2, "pixels must be BCHW with C=3"),
        ((2, 3, 64, 60), 2, "not a multiple of 8x8 px"),
        ((2, 3, 64, 64), 1, "metas must be one per row, got 1 for 2"),
        ((3, 3, 64, 64), 3, "batch must be at most 2, got 3"),
    ],
)
def test_misfit_is_refused(shape: tuple[int, ...], num_metas: int, sentence: str) -> None:
    spec = replace(SPECS["dct"], max_batch=2)
    with pytest.raises(EncoderError, match=sentence):
        check_batch(spec, torch.zeros(shape), [SampleMeta(key="")] * num_metas)


def test_fitting_batch_passes() -> None:
    check_batch(SPECS["wan"], torch.zeros(1, 3, 5, 16, 16), [SampleMeta(key="")])
