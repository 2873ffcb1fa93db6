"""Spectra of latents: how their energy falls with spatial frequency.

The definition is SpectrumMatching's (arXiv 2603.14645, ``utils_DCT.py``), after Skorokhodov et al.,
"Improving the Diffusability of Autoencoders", ICML 2025: the spatial mean of each channel is taken
away, the orthonormal two-dimensional DCT-II squared and averaged over channels, its constant
dropped, and the mean taken in 16 rings of ``r / r_max``, ``r = sqrt(u^2 + v^2)``.

Dimension letters: C channels, T latent frames, H height, W width, D draws, R rings.
"""

import numpy as np
import torch
from torch import Tensor

from latentcache.compare.metrics.interval import Floats
from latentcache.encoders import dct_matrix

NUM_RINGS = 16
RING_CENTRES = (np.arange(NUM_RINGS) + 0.5) / NUM_RINGS


def dct_2d(values_HW: Tensor) -> Tensor:
    """Return the two-dimensional DCT-II over the last two dimensions, float64."""
    height, width = values_HW.shape[-2:]
    return dct_matrix(height) @ values_HW.double() @ dct_matrix(width).T


def rings(height: int, width: int) -> Tensor:
    """Return the ring of each frequency, int64 [H, W]; -1 for the constant."""
    u = torch.arange(height, dtype=torch.float64)[:, None] / height
    v = torch.arange(width, dtype=torch.float64)[None] / width
    # Of a grid that is not square a frequency is counted in cycles a cell, alike in both ways.
    radius = (u**2 + v**2).sqrt()
    radius = radius / radius.max().clamp(min=1e-12)
    ring = (radius * NUM_RINGS).long().clamp(max=NUM_RINGS - 1)
    ring[0, 0] = -1
    return ring


def ring_energies(latent_CTHW: Tensor) -> Floats:
    """Return sums and counts by ring, float64 [2 R]; means over samples keep them apart."""
    height, width = latent_CTHW.shape[-2:]
    centred = latent_CTHW - latent_CTHW.mean(dim=(-1, -2), keepdim=True)
    power = dct_2d(centred).square().mean(dim=(0, 1)).flatten()
    ring = rings(height, width).flatten()
    kept = ring >= 0
    total = torch.zeros(NUM_RINGS, dtype=torch.float64).index_add_(0, ring[kept], power[kept])
    count = torch.bincount(ring[kept], minlength=NUM_RINGS).double()
    found: Floats = torch.cat([total, count]).numpy()
    return found


def ring_means(energies_D2R: Floats) -> Floats:
    """Return the mean energy in each ring [D, R]; NaN where a ring holds no frequency."""
    total, count = np.split(energies_D2R, 2, axis=1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def slope(energies_D2R: Floats) -> Floats:
    """Return alpha of ``energy ~ r^-alpha`` by least squares over rings, in logarithms [D]."""
    means = ring_means(energies_D2R)
    x = np.log(RING_CENTRES)[None] + np.zeros_like(means)
    y = np.log(np.where(means > 0, means, np.nan))
    x = np.where(np.isfinite(y), x, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        count = np.isfinite(y).sum(axis=1)
        dx = x - np.nansum(x, axis=1, keepdims=True) / count[:, None]
        dy = y - np.nansum(y, axis=1, keepdims=True) / count[:, None]
        found: Floats = -np.nansum(dx * dy, axis=1) / np.nansum(dx * dx, axis=1)
    return np.where(count > 1, found, np.nan)


def high_share(energies_D2R: Floats) -> Floats:
    """Return the share of the energy above half of the highest radius [D]."""
    total = energies_D2R[:, :NUM_RINGS]
    whole = total.sum(axis=1)
    high = total[:, NUM_RINGS // 2 :].sum(axis=1)
    found: Floats = np.full_like(whole, np.nan)
    np.divide(high, whole, out=found, where=whole > 0)
    return found
