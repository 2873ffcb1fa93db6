from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from latentcache.stats import ColumnStatistics, LatentStatistics

RNG = np.random.default_rng(11)
Accumulate = Callable[..., dict[str, NDArray[np.generic]]]


def pooled(arrays: dict[str, NDArray[np.generic]]) -> LatentStatistics:
    field = ColumnStatistics.from_arrays(arrays).primary
    assert field is not None
    return field.pooled


def posterior(*shape: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean = RNG.standard_normal(shape).astype(np.float32)
    return mean, (RNG.standard_normal(shape) * 20 - 5).astype(np.float32)


def test_kl_is_that_of_two_gaussians(accumulate: Accumulate) -> None:
    torch = pytest.importorskip("torch")
    mean, logvar = posterior(6, 4, 8, 8)
    statistics = pooled(accumulate([mean], name="mean", logvars=[logvar], pixels_per_sample=4096))
    std = torch.from_numpy(np.exp(0.5 * np.clip(logvar.astype(np.float64), -30, 20)))
    gaussian = torch.distributions.Normal(torch.from_numpy(mean).double(), std)
    kl = torch.distributions.kl_divergence(gaussian, torch.distributions.Normal(0.0, 1.0))
    per_frame = kl.sum((1, 2, 3)).mean().item()
    assert statistics.kl_nats_per_frame == pytest.approx(per_frame, rel=1e-12)
    assert statistics.kl_nats_per_pixel == pytest.approx(per_frame / 4096, rel=1e-12)


def test_kl_is_per_latent_frame_and_class(accumulate: Accumulate) -> None:
    mean, logvar = np.zeros((2, 3, 5, 4, 4), np.float32), np.zeros((2, 3, 5, 4, 4), np.float32)
    mean[:, :, 0] = 2.0
    mean[:, :, 1:] = 1.0
    arrays = accumulate([mean], "CTHW", name="mean", logvars=[logvar])
    field = ColumnStatistics.from_arrays(arrays).primary
    assert field is not None
    assert field.classes["first"].kl_nats_per_frame == pytest.approx(0.5 * 4 * 48)
    assert field.classes["rest"].kl_nats_per_frame == pytest.approx(0.5 * 1 * 48)
    assert field.pooled.kl_nats_per_frame == pytest.approx(0.5 * (4 + 4 * 1) * 48 / 5)
    assert field.pooled.kl_nats_per_pixel is None


def test_noise_fraction_follows_the_law_of_total_variance(accumulate: Accumulate) -> None:
    mean = RNG.standard_normal((64, 2, 16, 16)).astype(np.float32) * 3
    logvar = np.full_like(mean, np.log(4.0))
    logvar[:, 1] = -30.0
    statistics = pooled(accumulate([mean], name="mean", logvars=[logvar]))
    variance = mean.astype(np.float64).var(axis=(0, 2, 3))
    fraction = statistics.noise_fraction(is_sampled=False)
    assert fraction is not None
    assert_allclose(fraction, [4 / (variance[0] + 4), 0.0], atol=1e-7)
    drawn = mean + np.exp(0.5 * logvar) * RNG.standard_normal(mean.shape)
    total = statistics.latent_variance(is_sampled=False)
    assert_allclose(total, drawn.var(axis=(0, 2, 3)), rtol=0.03)


def test_a_shared_logvar_speaks_for_every_channel(accumulate: Accumulate) -> None:
    mean, logvar = posterior(3, 4, 2, 5, 5)
    shared = logvar[:, :1]
    spread = np.broadcast_to(shared, mean.shape)
    ours = accumulate([mean], "CTHW", name="mean", logvars=[shared])
    theirs = accumulate([mean], "CTHW", name="mean", logvars=[spread])
    for name, array in theirs.items():
        assert_allclose(ours[name], array, rtol=1e-13, err_msg=name)


def test_elements_without_mean_or_variance_are_left_out(accumulate: Accumulate) -> None:
    mean, logvar = posterior(2, 3, 4, 4)
    mean[0, 0, 0, 0] = np.nan
    logvar[1, 1, 2, 2] = np.inf
    statistics = pooled(accumulate([mean], name="mean", logvars=[logvar]))
    assert statistics.posterior is not None
    assert_array_equal(statistics.posterior.count, [31, 31, 32])
    keep = np.isfinite(mean) & np.isfinite(logvar)
    m, v = mean[keep].astype(np.float64), np.clip(logvar[keep].astype(np.float64), -30, 20)
    expected = 0.5 * (m * m + np.exp(v) - 1 - v).sum()
    assert statistics.posterior.kl_nats == pytest.approx(expected, rel=1e-12)
