"""Channels of latents: moments, covariance, posterior noise; per sample, so that samples resample.

Definitions as in ``latentcache.stats``, where they are exact over a whole column; here they are of
the samples compared, which gives them intervals.

Dimension letters: C channels, T latent frames, H height, W width, D draws, K values.
"""

import math

import numpy as np
import torch
from torch import Tensor

from latentcache.compare.metrics.interval import Floats
from latentcache.stats import participation_ratio

MAX_COVARIANCE_CHANNELS = 64
"""Of more, each sample's products would take megabytes."""
_LOGVAR_RANGE = (-30.0, 20.0)


def moment_sums(latent_CTHW: Tensor) -> Floats:
    """Return means of ``x`` and of ``x^2`` per channel [2 C]."""
    flat = latent_CTHW.double().flatten(1)
    sums: Floats = torch.cat([flat.mean(dim=1), flat.square().mean(dim=1)]).numpy()
    return sums


def product_sums(latent_CTHW: Tensor) -> Floats | None:
    """Return means of ``x`` and of ``x x^T`` [C + C C]; None of more channels than are kept."""
    flat = latent_CTHW.double().flatten(1)
    if len(flat) > MAX_COVARIANCE_CHANNELS:
        return None
    products = flat @ flat.T / flat.shape[1]
    sums: Floats = torch.cat([flat.mean(dim=1), products.flatten()]).numpy()
    return sums


def posterior_sums(mean_CTHW: Tensor, logvar_CTHW: Tensor, num_pixels: int) -> Floats:
    """Return per channel means of mu, mu^2 and sigma^2, and the KL in nats a pixel [3 C + 1].

    The KL of an element is ``(mu^2 + sigma^2 - 1 - log sigma^2) / 2`` (Kingma and Welling,
    "Auto-Encoding Variational Bayes", appendix B).
    """
    mean = mean_CTHW.double().flatten(1)
    logvar = logvar_CTHW.double().clamp(*_LOGVAR_RANGE).expand_as(mean_CTHW).flatten(1)
    variance = logvar.exp()
    kl = 0.5 * (mean.square() + variance - 1 - logvar).sum() / num_pixels
    parts = [mean.mean(dim=1), mean.square().mean(dim=1), variance.mean(dim=1), kl[None]]
    found: Floats = torch.cat(parts).numpy()
    return found


def mean_offset(sums_DK: Floats) -> Floats:
    """Return the root mean square over channels of their means [D]."""
    mean, _ = _moments(sums_DK)
    found: Floats = np.sqrt(np.mean(mean**2, axis=1))
    return found


def trained_std(sums_DK: Floats) -> Floats:
    """Return the root mean square over channels of their standard deviations [D]."""
    _, variance = _moments(sums_DK)
    found: Floats = np.sqrt(np.mean(variance, axis=1))
    return found


def published_distance(sums_DK: Floats) -> Floats:
    """Return the root mean square over channels of how far (mean, std) is from (0, 1) [D]."""
    mean, variance = _moments(sums_DK)
    found: Floats = np.sqrt(np.mean(mean**2 + (np.sqrt(variance) - 1) ** 2, axis=1))
    return found


def noise_fraction(sums_DK: Floats) -> Floats:
    """Return ``E[sigma^2] / (Var[mu] + E[sigma^2])`` over all channels [D]."""
    mean, squares, noise = np.split(sums_DK[:, :-1], 3, axis=1)
    variance = np.maximum(squares - mean**2, 0).sum(axis=1)
    total = variance + noise.sum(axis=1)
    found: Floats = np.full_like(total, np.nan)
    np.divide(noise.sum(axis=1), total, out=found, where=total > 0)
    return found


def kl_per_pixel(sums_DK: Floats) -> Floats:
    """Return the KL in nats a pixel [D]."""
    return sums_DK[:, -1]


def participation(sums_DK: Floats) -> Floats:
    """Return ``(sum l)^2 / sum l^2`` of the covariance's eigenvalues [D]."""
    return np.array([participation_ratio(each) for each in eigenvalues(sums_DK)])


def top_share(sums_DK: Floats) -> Floats:
    """Return the largest eigenvalue's share of all [D]."""
    found = eigenvalues(sums_DK)
    total = found.sum(axis=1)
    share: Floats = np.full_like(total, np.nan)
    np.divide(found[:, 0], total, out=share, where=total > 0)
    return share


def eigenvalues(sums_DK: Floats) -> Floats:
    """Return the eigenvalues of the channels' covariance, largest first [D, C]."""
    num_channels = _num_channels(sums_DK.shape[1])
    mean = sums_DK[:, :num_channels]
    products = sums_DK[:, num_channels:].reshape(-1, num_channels, num_channels)
    covariance = products - mean[:, :, None] * mean[:, None, :]
    ascending: Floats = np.linalg.eigvalsh(covariance).astype(np.float64)
    return np.maximum(ascending[:, ::-1], 0.0)


def _num_channels(num_values: int) -> int:
    """Return C of ``C + C^2`` values."""
    return round((math.sqrt(1 + 4 * num_values) - 1) / 2)


def _moments(sums_DK: Floats) -> tuple[Floats, Floats]:
    mean, squares = np.split(sums_DK, 2, axis=1)
    return mean, np.maximum(squares - mean**2, 0.0)
