"""LPIPS, from the weights as they are published: a backbone's and the heads'.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018,
version 0.1: torchvision's AlexNet or VGG16 (``features.N.weight``) and five heads
(``linN.model.1.weight``), as in the package ``lpips``. Which network it is, the heads' widths say.

Dimension letters: T frames, C colours or channels, H height, W width.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from latentcache.compare.metrics.published_weights import (
    Weights,
    named,
    read_weights,
    weights_digest,
)
from latentcache.core.errors import ConfigError

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-10
LPIPS_MIN_PX = 64
"""Smaller pictures do not survive AlexNet's strides with something left to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    """Layers by their number in torchvision's ``features``; () is max pooling."""

    name: str
    layers: tuple[tuple[int, ...], ...]
    """(number, stride, padding) of a convolution, or () of pooling."""
    taps: tuple[int, ...]
    """Convolutions whose activations are compared."""
    widths: tuple[int, ...]
    pool_px: int


_NETWORKS = (
    _Network(
        name="alex", pool_px=3, taps=(0, 3, 6, 8, 10), widths=(64, 192, 384, 256, 256),
        layers=((0, 4, 2), (), (3, 1, 2), (), (6, 1, 1), (8, 1, 1), (10, 1, 1)),
    ),
    _Network(
        name="vgg", pool_px=2, taps=(2, 7, 14, 21, 28), widths=(64, 128, 256, 512, 512),
        layers=(
            (0, 1, 1), (2, 1, 1), (), (5, 1, 1), (7, 1, 1), (), (10, 1, 1), (12, 1, 1), (14, 1, 1),
            (), (17, 1, 1), (19, 1, 1), (21, 1, 1), (), (24, 1, 1), (26, 1, 1), (28, 1, 1),
        ),
    ),
)  # fmt: skip


class Lpips:
    """Weights in place.

    Attributes:
        network: ``alex`` or ``vgg``.
        digest: Of the weights.
    """

    def __init__(self, backbone: Path, heads: Path) -> None:
        """Read weights.

        Raises:
            ConfigError: A file is not what it must be.
        """
        what = "heads of LPIPS"
        found = read_weights(heads, what=what)
        self._heads = [named(found, f"lin{at}.model.1.weight", heads, what=what) for at in range(5)]
        widths = tuple(each.shape[1] for each in self._heads)
        network = next((each for each in _NETWORKS if each.widths == widths), None)
        if network is None:
            raise ConfigError(f"{what} must be those of alex or vgg, got widths {widths} ({heads})")
        self._network, self.network = network, network.name
        self._weights = _features(
            read_weights(backbone, what="backbone of LPIPS"), network, backbone
        )
        self.digest = weights_digest({**self._weights, **found})

    @torch.no_grad()
    def distance(self, original_TCHW: Tensor, decoded_TCHW: Tensor) -> float:
        """Return the mean distance over frames of pixels on the scale 0 to 255; 0 is equal.

        NaN below ``LPIPS_MIN_PX``.
        """
        if min(original_TCHW.shape[-2:]) < LPIPS_MIN_PX:
            return float("nan")
        total = torch.zeros(len(original_TCHW))
        taps = (self._taps(each) for each in (original_TCHW, decoded_TCHW))
        for head, ours, theirs in zip(self._heads, *taps, strict=True):
            apart = F.conv2d((ours - theirs).square(), head)
            total += apart.mean(dim=(1, 2, 3))
        return float(total.mean())

    def _taps(self, pixels_TCHW: Tensor) -> list[Tensor]:
        shift, scale = (torch.tensor(each).view(1, 3, 1, 1) for each in (_SHIFT, _SCALE))
        values = (pixels_TCHW / 127.5 - 1 - shift) / scale
        found = []
        for layer in self._network.layers:
            if not layer:
                values = F.max_pool2d(values, self._network.pool_px, 2)
                continue
            number, stride, padding = layer
            weight, bias = (self._weights[f"features.{number}.{x}"] for x in ("weight", "bias"))
            values = F.conv2d(values, weight, bias, stride, padding).relu()
            if number in self._network.taps:
                length = values.square().sum(dim=1, keepdim=True).sqrt()
                found.append(values / (length + _EPSILON))
        return found


def _features(weights: Weights, network: _Network, path: Path) -> Weights:
    what = f"backbone of LPIPS ({network.name}, as its heads are)"
    names = [
        f"features.{layer[0]}.{part}"
        for layer in network.layers
        if layer
        for part in ("weight", "bias")
    ]
    return {name: named(weights, name, path, what=what) for name in names}
