"""A feature space that no encoder owns: fixed, without weights, the same for every comparison.

An autoencoder's own latents, or features of its perceptual loss, would favour it. These are a small
picture (8 x 8 px, three colours) and how much edge there is, by four directions at four scales on a
grid of 4 x 4. Sets are held against each other by the kernel distance of Bińkowski et al.,
"Demystifying MMD GANs", 2018 (KID): it is unbiased at small numbers, as Fréchet distances are not.

Dimension letters: N pictures, M others, C colours, H height, W width, F features.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_SMALL, _GRID, _NUM_SCALES = 8, 4, 4
_FLOOR = 1.0
"""Levels of 255: below it a difference is rounding."""


def judge_features(pictures_NCHW: Tensor) -> Tensor:
    """Return features [N, F] of pictures of one size, float32, 0 to 255."""
    parts = [F.adaptive_avg_pool2d(pictures_NCHW, _SMALL).flatten(1)]
    scaled = pictures_NCHW
    for _ in range(_NUM_SCALES):
        if min(scaled.shape[-2:]) < 2 * _GRID:
            break
        down, right = scaled.diff(dim=-2)[..., :-1], scaled.diff(dim=-1)[..., :-1, :]
        for each in (down, right, (down + right) / 2**0.5, (down - right) / 2**0.5):
            energy = F.adaptive_avg_pool2d(each.abs().mean(dim=1, keepdim=True), _GRID)
            # In logarithms texture counts beside strong edges; the factor makes it of like size.
            parts.append(32.0 * (energy + _FLOOR).log().flatten(1))
        scaled = F.avg_pool2d(scaled, 2)
    return torch.cat(parts, dim=1)


class Judge:
    """Holds real pictures, and says how far others are from them."""

    def __init__(self, real_NF: Tensor) -> None:
        self._mean = real_NF.mean(dim=0)
        self._spread = real_NF.std(dim=0, correction=0).clamp(min=1e-3)
        self._real = self._scaled(real_NF)
        self._among_real = _mean_of_others(_kernel(self._real, self._real))

    def distance(self, features_MF: Tensor) -> float:
        """Return the unbiased squared kernel distance: 0 in the mean if they are alike."""
        theirs = self._scaled(features_MF)
        between = _kernel(theirs, self._real).mean()
        return float(_mean_of_others(_kernel(theirs, theirs)) + self._among_real - 2 * between)

    def _scaled(self, features: Tensor) -> Tensor:
        return (features - self._mean).double() / self._spread


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.T / first.shape[1] + 1) ** 3


def _mean_of_others(square: Tensor) -> Tensor:
    count = len(square)
    return (square.sum() - square.diagonal().sum()) / max(1, count * (count - 1))
