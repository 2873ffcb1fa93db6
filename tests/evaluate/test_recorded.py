import numpy as np
import pytest
import torch

from latentcache.encoders import EncoderOptions, load_encoder
from latentcache.evaluate.recorded import decode_fields
from latentcache.store import TensorBytes

FAKE = "latentcache.testing.fakes:FakeEncoder"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float8_e4m3fn"])
def test_every_storage_dtype_decodes(dtype: str) -> None:
    encoder = load_encoder(FAKE, EncoderOptions(device="cpu"))
    grey = torch.full((3, 2, 4), 0.25).to(getattr(torch, dtype))
    data = grey.view(torch.uint8).numpy().tobytes()
    stored = TensorBytes(dtype, (3, 2, 4), data)
    pixels = decode_fields(encoder, {"z": stored})  # type: ignore[arg-type]  # it can decode
    assert pixels.shape == (16, 32, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == round((0.25 + 1) / 2 * 255)).all()


def test_values_past_the_range_are_clamped_not_wrapped() -> None:
    encoder = load_encoder(FAKE, EncoderOptions(device="cpu"))
    stored = np.array([1.5, -1.5, 0.0], np.float16).reshape(3, 1, 1)
    pixels = decode_fields(encoder, {"z": stored})  # type: ignore[arg-type]  # it can decode
    assert set(map(tuple, pixels.reshape(-1, 3).tolist())) == {(255, 0, 128)}
