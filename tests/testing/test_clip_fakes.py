"""The fakes of clips keep the contract, and misbehave on marked groups only."""

import numpy as np
import pytest
import torch

from latentcache.encoders import EncoderOptions, SampleMeta, load_encoder
from latentcache.encoders.spec import StreamingEncoder
from latentcache.testing.contract import EncoderContract
from latentcache.testing.drawn import marked_picture

MODULE = "latentcache.testing.clip_fakes"


def load(name: str) -> StreamingEncoder:
    encoder = load_encoder(f"{MODULE}:{name}", EncoderOptions(device="cpu"))
    assert isinstance(encoder, StreamingEncoder)
    return encoder


def clip(*, is_marked: bool) -> torch.Tensor:
    frames = torch.rand(1, 3, 9, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    if is_marked:
        mark = np.asarray(marked_picture(32, 32), dtype=np.float32) / 127.5 - 1
        frames[0, :, 6] = torch.from_numpy(mark).permute(2, 0, 1)
    return frames


class TestFakeClipEncoder(EncoderContract):
    def make_encoder(self) -> StreamingEncoder:
        return load("FakeClipEncoder")


SAME_VALUES = (
    "NanClipEncoder",
    "OverflowClipEncoder",
    "FailingClipEncoder",
    "CrashingClipEncoder",
    "OutOfMemoryClipEncoder",
    "WholeClipEncoder",
    "SlowClipEncoder:seconds=0.001",
)


@pytest.mark.parametrize("name", SAME_VALUES)
def test_unmarked_clips_are_those_of_the_well_behaved_fake(name: str) -> None:
    good, fake = load("FakeClipEncoder"), load(name)
    assert fake.spec.fingerprint() == good.spec.fingerprint()
    pixels, metas = clip(is_marked=False), [SampleMeta(key="")]
    assert torch.equal(fake.encode(pixels, metas)[0]["z"], good.encode(pixels, metas)[0]["z"])


@pytest.mark.parametrize(
    ("name", "error"),
    [("FailingClipEncoder", RuntimeError), ("OutOfMemoryClipEncoder", torch.OutOfMemoryError)],
)
def test_a_marked_group_fails(name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        load(name).encode(clip(is_marked=True), [SampleMeta(key="")])


def test_a_marked_group_alone_is_spoilt() -> None:
    (fields,) = load("NanClipEncoder").encode(clip(is_marked=True), [SampleMeta(key="")])
    assert torch.isfinite(fields["z"]).flatten(2).all(dim=(0, 2)).tolist() == [True, True, False]
    (fields,) = load("OverflowClipEncoder").encode(clip(is_marked=True), [SampleMeta(key="")])
    assert torch.isfinite(fields["z"]).all()
    assert not torch.isfinite(fields["z"].half()).all()
