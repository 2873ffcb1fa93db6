"""PSNR, SSIM and MS-SSIM are those of torchmetrics, which is given float64; differences said."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure as reference_ms_ssim,
)
from torchmetrics.functional.image import peak_signal_noise_ratio as reference_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as reference_ssim

from latentcache.compare.metrics.pixel_errors import (
    MAX_PSNR_DB,
    MS_SSIM_MIN_PX,
    flicker,
    ms_ssim,
    psnr,
    ssim,
)

MS_SSIM_BORDER = 5e-3
"""At its last scale torchmetrics counts windows that reach over the border."""


def _pair(seed: int, height: int, width: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, 5, 7, generator=generator) * 255
    original = torch.nn.functional.interpolate(small, (height, width), mode="bilinear")
    decoded = original + noise * torch.randn(original.shape, generator=generator)
    return original.round().double(), decoded.clamp(0, 255).round().double()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**31), st.integers(24, 70), st.integers(24, 70), st.floats(1, 60))
def test_psnr_and_ssim_are_the_references(seed: int, height: int, width: int, noise: float) -> None:
    original, decoded = _pair(seed, height, width, noise)
    expected = float(reference_psnr(decoded, original, data_range=255.0))
    assert psnr(original, decoded) == pytest.approx(expected, abs=1e-5)
    found = reference_ssim(decoded, original, data_range=255.0, return_full_image=True)
    # torchmetrics also counts windows that reach over the border, over reflected pixels.
    inside = found[1][..., 5:-5, 5:-5]
    assert ssim(original, decoded) == pytest.approx(float(inside.mean()), abs=1e-6)


@pytest.mark.parametrize("noise", [3.0, 40.0])
def test_ms_ssim_is_the_reference_but_for_windows_over_the_border(noise: float) -> None:
    original, decoded = _pair(1, 176, 192, noise)
    expected = float(reference_ms_ssim(decoded, original, data_range=255.0))
    assert ms_ssim(original, decoded) == pytest.approx(expected, abs=MS_SSIM_BORDER)


def test_equal_pictures_score_the_most_there_is() -> None:
    original, _ = _pair(0, MS_SSIM_MIN_PX, MS_SSIM_MIN_PX, 1.0)
    assert psnr(original, original) == MAX_PSNR_DB
    assert ssim(original, original) == pytest.approx(1.0)
    assert ms_ssim(original, original) == pytest.approx(1.0)


def test_a_picture_too_small_for_the_window_has_no_score() -> None:
    original, decoded = _pair(0, 10, 40, 3.0)
    assert math.isnan(ssim(original, decoded))
    assert math.isnan(ms_ssim(original, decoded))


@given(st.floats(-20, 20), st.integers(2, 5))
def test_a_steady_error_does_not_flicker_and_one_frame_has_no_flicker(
    shift: float, num_frames: int
) -> None:
    frames = torch.rand(num_frames, 3, 4, 4) * 200
    assert flicker(frames, frames + shift) == pytest.approx(0.0, abs=1e-4)
    assert math.isnan(flicker(frames[:1], frames[:1]))
    flipping = frames + shift * torch.tensor([(-1.0) ** t for t in range(num_frames)]).view(
        -1, 1, 1, 1
    )
    assert flicker(frames, flipping) == pytest.approx(2 * abs(shift), abs=1e-3)
