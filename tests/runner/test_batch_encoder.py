"""One thread, one shape: what is stored of a row depends on that row alone."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from latentcache.core.errors import EncoderError
from latentcache.encoders import Encoder, EncoderOptions, load_encoder, stored_fields
from latentcache.runner.forward.batch_encoder import (
    BatchEncoder,
    EncodeBatch,
    EncodePolicy,
    EncoderBrokenError,
    EncoderOutOfMemoryError,
)
from latentcache.runner.forward.encode_thread import encode_thread
from latentcache.testing.drawn import marked_picture

_SIZE_PX = 32
_BATCH = 4


def _loaded(fake: str, *, dtype: str | None = None) -> BatchEncoder:
    def make(asked: str | None) -> Encoder:
        options = EncoderOptions(device="cpu", dtype=asked or dtype)
        return load_encoder(f"latentcache.testing.fakes:{fake}", options)

    return BatchEncoder(
        make,
        policy=lambda spec: EncodePolicy(
            fields=stored_fields(spec, "moments", None), policy="moments", seed=0
        ),
        thread=encode_thread(1),
    )


def _batch(*, marked: int | None = None, num_rows: int = _BATCH) -> EncodeBatch:
    random = np.random.default_rng(3)
    shape = (_BATCH, 1, _SIZE_PX, _SIZE_PX, 3)
    pixels: npt.NDArray[np.uint8] = random.integers(0, 256, shape, dtype=np.uint8)
    if marked is not None:
        pixels[marked, 0] = np.asarray(marked_picture(_SIZE_PX, _SIZE_PX))
    keys = [f"key {index}" if index < num_rows else "" for index in range(_BATCH)]
    return EncodeBatch(pixels_BTHWC=pixels, keys=tuple(keys))


@pytest.fixture
def good() -> Iterator[BatchEncoder]:
    encoder = _loaded("FakeEncoder")
    yield encoder
    encoder.close()


def test_filler_rows_are_dropped(good: BatchEncoder) -> None:
    encoded = good.submit(_batch(num_rows=3)).result()
    assert encoded.positions == (0, 1, 2)
    assert encoded.fields["z"].shape == (3, 3, 4, 4)
    assert encoded.fields["z"].dtype == torch.float16


def test_a_row_alone_has_the_bits_it_has_in_company(good: BatchEncoder) -> None:
    together = good.submit(_batch()).result()
    for position in range(_BATCH):
        alone = good.submit_alone(_batch(), position).result()
        assert alone.positions == (position,)
        assert torch.equal(alone.fields["z"][0], together.fields["z"][position])


def test_a_batch_of_fillers_costs_nothing(good: BatchEncoder) -> None:
    assert good.submit(_batch(num_rows=0)).result().positions == ()


def test_nan_in_half_precision_is_computed_again_in_float32(good: BatchEncoder) -> None:
    half = _loaded("HalfNanEncoder")
    encoded = half.submit(_batch(marked=2)).result()
    assert encoded.positions == (0, 1, 2, 3)
    assert encoded.rejects == {}
    assert torch.equal(encoded.fields["z"], good.submit(_batch(marked=2)).result().fields["z"])


@pytest.mark.parametrize("fake", ["FailingEncoder", "RefusingEncoder", "NanEncoder"])
def test_a_failing_row_is_rejected_and_the_others_are_as_ever(
    fake: str, good: BatchEncoder
) -> None:
    encoded = _loaded(fake).submit(_batch(marked=1)).result()
    assert encoded.positions == (0, 2, 3)
    assert list(encoded.rejects) == [1]
    expected = good.submit(_batch(marked=1)).result().fields["z"][[0, 2, 3]]
    assert torch.equal(encoded.fields["z"], expected)


def test_a_broken_device_blames_no_sample() -> None:
    with pytest.raises(EncoderBrokenError, match=r"plain grey.*illegal memory access"):
        _loaded("StickyEncoder").submit(_batch(marked=1)).result()


def test_what_comes_after_a_broken_device_is_not_noted() -> None:
    encoder = _loaded("StickyEncoder")
    noted: list[str] = []
    breaking = encoder.submit(_batch(marked=1), note=lambda runs: noted.append(f"first {runs}"))
    after = encoder.submit(_batch(), note=lambda runs: noted.append(f"second {runs}"))
    for future in (breaking, after):
        with pytest.raises(EncoderBrokenError):
            future.result()
    assert noted == ["first True"]


def test_running_out_of_memory_blames_no_sample() -> None:
    with pytest.raises(EncoderOutOfMemoryError, match="batch must fit the device"):
        _loaded("OutOfMemoryEncoder").submit(_batch(marked=1)).result()


def test_what_runs_is_noted_before_and_after(good: BatchEncoder) -> None:
    notes: list[bool] = []
    good.submit(_batch(), note=notes.append).result()
    assert notes == [True, False]


def test_an_encoder_of_another_modality_is_given_no_pixels() -> None:
    with pytest.raises(EncoderError, match="encoder of pixels must be image or video, got 'text'"):
        _loaded("TextEncoder")


def test_rows_of_different_shapes_are_all_stored() -> None:
    encoder = _loaded("RaggedEncoder")
    batch = _batch()
    encoded = encoder.submit(batch).result()
    lengths = [len(row) for row in encoded.fields["z"]]
    assert encoded.positions == (0, 1, 2, 3)
    assert encoded.rejects == {}
    assert len(set(lengths)) > 1
    stacks = list(encoded.stacks())
    assert [fields["z"].shape[:2] for fields, _ in stacks] == [(1, length) for length in lengths]
    for position in range(_BATCH):
        alone = encoder.submit_alone(batch, position).result()
        assert torch.equal(alone.fields["z"][0], encoded.fields["z"][position])


def test_an_index_outside_the_codebook_rejects_its_row_alone() -> None:
    encoded = _loaded("StrayIndexEncoder").submit(_batch(marked=1)).result()
    assert encoded.positions == (0, 2, 3)
    assert "outside its codebook of 512" in encoded.rejects[1].reason
    assert encoded.fields["indices"].dtype == torch.uint16


def test_an_encoder_knows_rate_and_seed_of_each_row() -> None:
    encoder = _loaded("MetaEncoder")
    batch = replace(_batch(), frame_rates_fps=(24.0, 12.5))
    together = encoder.submit(batch).result().fields["z"]
    assert together[:, 0].tolist() == [24.0, 12.5, 0.0, 0.0]
    assert len(set(together[:, 1].tolist())) == _BATCH
    alone = encoder.submit_alone(batch, 1).result().fields["z"]
    assert torch.equal(alone[0], together[1])
