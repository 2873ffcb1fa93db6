"""Each fake misbehaves in its own way, on marked pictures only."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from latentcache.encoders import (
    EncoderOptions,
    SampleMeta,
    apply_policy,
    load_encoder,
    stack_fields,
    stored_fields,
)
from latentcache.encoders.spec import Encoder
from latentcache.testing import fakes
from latentcache.testing.drawn import marked_picture

MODULE = "latentcache.testing.fakes"


def load(name: str, **options: str) -> Encoder:
    return load_encoder(f"{MODULE}:{name}", EncoderOptions(device="cpu", **options))


def batch(*, is_marked: bool) -> torch.Tensor:
    rows = [torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1]
    if is_marked:
        pixels = np.asarray(marked_picture(32, 32), dtype=np.float32) / 127.5 - 1
        rows.append(torch.from_numpy(pixels).permute(2, 0, 1))
    return torch.stack(rows)


def encode(encoder: Encoder, *, is_marked: bool) -> dict[str, torch.Tensor]:
    pixels = batch(is_marked=is_marked)
    return stack_fields(encoder.encode(pixels, [SampleMeta(key="")] * len(pixels)))


SAME_VALUES = (
    "NanEncoder",
    "OverflowEncoder",
    "SlowEncoder:seconds=0.001",
    "BusyEncoder:seconds=0.0001",
    "CrashingEncoder",
    "HangingEncoder",
    "FailingEncoder",
    "OutOfMemoryEncoder",
    "StickyEncoder",
    "RefusingEncoder",
)


@pytest.mark.parametrize("name", SAME_VALUES)
def test_unmarked_rows_are_those_of_the_well_behaved_fake(name: str) -> None:
    good, fake = load("FakeEncoder"), load(name)
    assert fake.spec.fingerprint() == good.spec.fingerprint()
    expected = encode(good, is_marked=False)["z"]
    assert torch.equal(encode(fake, is_marked=False)["z"], expected)


def test_nan_is_in_the_marked_row_alone() -> None:
    finite = torch.isfinite(encode(load("NanEncoder"), is_marked=True)["z"]).flatten(1).all(1)
    assert finite.tolist() == [True, False]


def test_half_nan_is_gone_in_float32() -> None:
    assert not torch.isfinite(encode(load("HalfNanEncoder"), is_marked=True)["z"]).all()
    in_float32 = encode(load("HalfNanEncoder", dtype="float32"), is_marked=True)["z"]
    assert torch.isfinite(in_float32).all()


def test_overflow_shows_after_rounding_to_storage() -> None:
    encoder = load("OverflowEncoder")
    raw = encode(encoder, is_marked=True)
    assert torch.isfinite(raw["z"]).all()
    fields = stored_fields(encoder.spec, "moments")
    stored = apply_policy(raw, fields, policy="moments", seed=0, keys=["a", "b"])
    assert torch.isinf(stored["z"][1]).any()


@pytest.mark.parametrize(
    ("name", "error"),
    [("FailingEncoder", RuntimeError), ("OutOfMemoryEncoder", torch.OutOfMemoryError)],
)
def test_marked_row_raises(name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode(load(name), is_marked=True)


def test_out_of_memory_above_a_batch_size() -> None:
    encoder = load("OutOfMemoryEncoder:max_batch=1")
    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode(torch.zeros(2, 3, 8, 8), [SampleMeta(key="")] * 2)


def test_once_strikes_once_across_restarts(tmp_path: Path) -> None:
    name = f"FailingEncoder:once={tmp_path / 'struck'}"
    with pytest.raises(RuntimeError):
        encode(load(name), is_marked=True)
    assert encode(load(name), is_marked=True)["z"].shape == (2, 3, 4, 4)


def test_crash_kills_its_own_process() -> None:
    script = (
        "import torch; from latentcache.testing.fakes import CrashingEncoder as E;"
        "from latentcache.encoders.spec import SampleMeta;"
        "mark = torch.tensor([1., -1., 1.])[None, :, None, None].expand(1, 3, 8, 8);"
        "E().encode(mark, [SampleMeta(key='')])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert done.returncode == -9


def test_jpeg_losses_do_not_hide_a_mark() -> None:
    noise = 0.02 * torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert fakes.is_marked(batch(is_marked=True)[1][:, :16, :16] + noise)
    assert not fakes.is_marked(batch(is_marked=False)[0])
