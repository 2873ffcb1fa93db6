"""A channel of one value is shifted and not scaled; all others are scaled as ever."""

import numpy as np
import pytest
import torch

from latentcache.loader.transform.normalizer import rounding_noise


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_noise_is_told_from_small_channels(dtype: str) -> None:
    random = np.random.default_rng(0)
    channels = np.stack(
        [
            random.normal(0.0, 1.0, 4096),
            random.normal(3.0, 0.1, 4096),
            random.normal(0.0, 1e-4, 4096),
            np.zeros(4096),
            np.full(4096, 0.7),
            random.normal(0.0, 1e-9, 4096),
            random.normal(1.0, 1e-9, 4096),
        ]
    )
    stored = torch.from_numpy(channels).to(getattr(torch, dtype)).double().numpy()
    found = rounding_noise(stored.var(axis=1), np.abs(stored).max(axis=1), dtype=dtype)
    assert found.tolist() == [False, False, False, True, True, True, True]


def test_a_column_of_one_value_is_noise_in_all_channels() -> None:
    assert rounding_noise(np.zeros(3), np.array([0.0, 1.0, 2.0]), dtype="float16").all()
