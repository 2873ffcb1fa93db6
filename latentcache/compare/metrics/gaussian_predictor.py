"""What the best Gaussian predictor of a store loses: the yardstick of a probe's loss.

A flow-matching loss depends on the latents' units: halve them and it falls, though nothing is
easier. Data that are Gaussian with covariance eigenvalues ``l`` have a best predictor of the
velocity ``noise - x``, which is linear; at time t (1 is noise) it multiplies ``x_t`` by
``a = (t - (1 - t) l) / ((1 - t)^2 l + t^2)`` along each eigenvector. Here the Gaussian is
stationary: one covariance of channels for each ring of spatial frequencies. A model that is
worth its steps loses less than that.

Dimension letters: N crops, C channels, H height, W width, R rings, M coefficients.
"""

import torch
from torch import Tensor

from latentcache.compare.metrics.spectrum import NUM_RINGS, dct_2d, rings


class GaussianPredictor:
    """Fitted to crops of latents."""

    def __init__(self, latents_NCHW: Tensor) -> None:
        self._mean = latents_NCHW.double().mean(dim=(0, 2, 3), keepdim=True)
        self._ring = self._rings_of(latents_NCHW)
        coefficients = self._coefficients(latents_NCHW)
        self._bases: dict[int, tuple[Tensor, Tensor]] = {}
        for ring in sorted(set(self._ring.tolist())):
            of_ring = coefficients[:, :, self._ring == ring].movedim(1, 0).flatten(1)
            covariance = of_ring @ of_ring.T / max(1, of_ring.shape[1])
            values, vectors = torch.linalg.eigh(covariance)
            self._bases[ring] = (values.clamp(min=1e-12), vectors)

    def losses(self, latents_NCHW: Tensor, times_N: Tensor) -> Tensor:
        """Return each crop's mean squared error, expected over the noise, float64 [N]."""
        coefficients, t = self._coefficients(latents_NCHW), times_N.double().view(-1, 1, 1)
        total = torch.zeros(len(latents_NCHW), dtype=torch.float64)
        for ring, (values, vectors) in self._bases.items():
            along = vectors.T @ coefficients[:, :, self._ring == ring]
            spread = values.view(1, -1, 1)
            a = (t - (1 - t) * spread) / ((1 - t) ** 2 * spread + t**2)
            error = (1 - a * t) ** 2 + along**2 * (1 + a * (1 - t)) ** 2
            total += error.sum(dim=(1, 2))
        return total / latents_NCHW[0].numel()

    def _coefficients(self, latents_NCHW: Tensor) -> Tensor:
        return dct_2d(latents_NCHW.double() - self._mean).flatten(2)

    def _rings_of(self, latents_NCHW: Tensor) -> Tensor:
        # The constant has a covariance of its own: pictures differ most in it.
        ring = rings(*latents_NCHW.shape[-2:]).flatten()
        return torch.where(ring < 0, NUM_RINGS, ring)
