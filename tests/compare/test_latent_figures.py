"""Spectra, covariances, posterior figures and the Gaussian's loss are what their formulas say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcache.compare.metrics.gaussian_predictor import GaussianPredictor
from latentcache.compare.metrics.interval import mean_itself
from latentcache.compare.metrics.latent_values import (
    eigenvalues,
    kl_per_pixel,
    mean_offset,
    moment_sums,
    noise_fraction,
    participation,
    posterior_sums,
    product_sums,
    trained_std,
)
from latentcache.compare.metrics.spectrum import (
    NUM_RINGS,
    dct_2d,
    high_share,
    ring_energies,
    rings,
    slope,
)
from latentcache.encoders import dct_matrix
from latentcache.stats import participation_ratio


def _falling(alpha: float, edge: int = 32) -> torch.Tensor:
    """Return a field whose DCT energy is exactly r^-alpha of its ring's middle."""
    radius = (rings(edge, edge).clamp(min=0).double() + 0.5) / NUM_RINGS
    amplitude = radius ** (-alpha / 2)
    basis = dct_matrix(edge)
    return (basis.T @ amplitude @ basis)[None, None]


@settings(max_examples=15, deadline=None)
@given(st.floats(-1.0, 4.0))
def test_the_slope_of_a_power_law_is_its_exponent(alpha: float) -> None:
    found = slope(ring_energies(_falling(alpha))[None])
    assert found[0] == pytest.approx(alpha, abs=1e-6)


def test_units_and_means_do_not_change_a_spectrum_s_shape() -> None:
    latent = torch.randn(4, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    one, other = (ring_energies(each)[None] for each in (latent, 7 * latent + 3))
    assert slope(one) == pytest.approx(slope(other))
    assert high_share(one) == pytest.approx(high_share(other))


def test_white_noise_has_the_share_of_its_frequencies_and_blur_less() -> None:
    noise = torch.randn(8, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    share = high_share(ring_energies(noise)[None])[0]
    expected = float((rings(64, 64) >= NUM_RINGS // 2).double().sum() / (64 * 64 - 1))
    assert share == pytest.approx(expected, abs=0.02)
    blurred = torch.nn.functional.avg_pool2d(noise[:, 0], 5, 1, 2)[:, None]
    assert high_share(ring_energies(blurred)[None])[0] < share / 3


def test_the_dct_keeps_energy() -> None:
    field = torch.randn(3, 9, 14, dtype=torch.float64)
    assert float(dct_2d(field).square().sum()) == pytest.approx(float(field.square().sum()))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 6))
def test_covariance_and_moments_are_those_of_numpy(seed: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    latents = [torch.randn(channels, 1, 6, 5, generator=generator) + 2 for _ in range(4)]
    flat = torch.stack(latents).movedim(1, 0).flatten(1).double().numpy()
    means = np.mean([product_sums(each) for each in latents], axis=0)[None]
    expected = np.linalg.eigvalsh(np.cov(flat, bias=True))[::-1]
    assert eigenvalues(means)[0] == pytest.approx(expected, abs=1e-9)
    assert participation(means)[0] == pytest.approx(participation_ratio(expected))
    moments = np.mean([moment_sums(each) for each in latents], axis=0)[None]
    assert mean_offset(moments)[0] == pytest.approx(np.sqrt(np.mean(flat.mean(axis=1) ** 2)))
    assert trained_std(moments)[0] == pytest.approx(np.sqrt(np.mean(flat.var(axis=1))))


def test_a_standard_normal_posterior_says_nothing_and_is_all_noise() -> None:
    found = posterior_sums(torch.zeros(2, 4, 4), torch.zeros(2, 4, 4), 1024)[None]
    assert kl_per_pixel(found)[0] == pytest.approx(0.0)
    assert noise_fraction(found)[0] == pytest.approx(1.0)
    sure = posterior_sums(torch.ones(2, 4, 4).cumsum(2), torch.full((1, 4, 4), -20.0), 1024)[None]
    assert noise_fraction(sure)[0] < 1e-6
    assert kl_per_pixel(sure)[0] > 0


def test_the_gaussian_loses_on_gaussian_data_what_theory_says_whatever_the_units() -> None:
    generator = torch.Generator().manual_seed(3)
    crops = torch.randn(4000, 2, 4, 4, generator=generator)
    for scale in (0.5, 1.0, 3.0):
        predictor = GaussianPredictor(crops[:2000] * scale)
        for time in (0.2, 0.5, 0.9):
            times = torch.full((2000,), time)
            found = predictor.losses(crops[2000:] * scale, times)
            spread = scale**2
            expected = spread / ((1 - time) ** 2 * spread + time**2)
            assert mean_itself(found.mean().view(1, 1).numpy())[0] == pytest.approx(
                expected, rel=0.05
            )


def test_the_gaussian_knows_what_channels_share() -> None:
    generator = torch.Generator().manual_seed(4)
    one = torch.randn(3000, 1, 4, 4, generator=generator)
    apart = torch.cat([one, torch.randn(one.shape, generator=generator)], dim=1)
    alike = torch.cat([one, one + 0.1 * torch.randn(one.shape, generator=generator)], dim=1)
    times = torch.full((1500,), 0.3)
    losses = [
        float(GaussianPredictor(each[:1500]).losses(each[1500:], times).mean())
        for each in (apart, alike)
    ]
    assert losses[1] < 0.7 * losses[0]
