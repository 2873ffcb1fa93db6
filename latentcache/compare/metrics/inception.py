"""InceptionV3 as Fréchet distances use it, from the weights that pytorch-fid publishes.

Szegedy et al., "Rethinking the Inception Architecture", 2016; the network of 2015-12-05 that Heusel
et al., "GANs Trained by a Two Time-Scale Update Rule", 2017, took features of. It differs from
torchvision's: average pools do not count the border, and the last block pools by maximum.

Dimension letters: N pictures, C colours or channels, H height, W width, F features.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from latentcache.compare.metrics.published_weights import named, read_weights, weights_digest

NUM_FEATURES = 2048
_EDGE_PX = 299
_EPSILON = 1e-3
_WHAT = "weights of rFID (pt_inception-2015-12-05)"


class Inception:
    """Weights in place.

    Attributes:
        digest: Of the weights.
    """

    def __init__(self, path: Path) -> None:
        """Read weights.

        Raises:
            ConfigError: The file is not what it must be.
        """
        self._path, self._weights = path, read_weights(path, what=_WHAT)
        self.digest = weights_digest(self._weights)
        for name in ("Conv2d_1a_3x3", "Mixed_7c.branch_pool"):
            named(self._weights, f"{name}.conv.weight", path, what=_WHAT)

    @torch.no_grad()
    def features(self, pictures_NCHW: Tensor) -> Tensor:
        """Return pooled features, float32 [N, F], of pixels on the scale 0 to 255."""
        size = [_EDGE_PX, _EDGE_PX]
        x = F.interpolate(pictures_NCHW / 255, size, mode="bilinear", align_corners=False) * 2 - 1
        x = self._unit(x, "Conv2d_1a_3x3", stride=2, is_same=False)
        x = self._unit(x, "Conv2d_2a_3x3", is_same=False)
        x = F.max_pool2d(self._unit(x, "Conv2d_2b_3x3"), 3, 2)
        x = self._unit(self._unit(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3", is_same=False)
        x = F.max_pool2d(x, 3, 2)
        for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self._block_a(x, name)
        x = self._block_b(x, "Mixed_6a")
        for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = self._block_c(x, name)
        x = self._block_d(x, "Mixed_7a")
        x = self._block_e(x, "Mixed_7b", _mean_pool(x))
        x = self._block_e(x, "Mixed_7c", F.max_pool2d(x, 3, 1, 1))
        return x.mean(dim=(2, 3))

    def _unit(self, x: Tensor, name: str, *, stride: int = 1, is_same: bool = True) -> Tensor:
        """Return convolution, batch norm and ReLU; padded to the same size, or not at all."""

        def of(part: str) -> Tensor:
            return named(self._weights, f"{name}.{part}", self._path, what=_WHAT)

        kernel = of("conv.weight")
        padding = (kernel.shape[2] // 2, kernel.shape[3] // 2) if is_same else (0, 0)
        x = F.conv2d(x, kernel, None, stride, padding)
        mean, variance = of("bn.running_mean"), of("bn.running_var")
        return F.batch_norm(x, mean, variance, of("bn.weight"), of("bn.bias"), eps=_EPSILON).relu()

    def _chain(self, x: Tensor, name: str, *parts: str) -> Tensor:
        for part in parts:
            x = self._unit(x, f"{name}.{part}")
        return x

    def _block_a(self, x: Tensor, name: str) -> Tensor:
        return torch.cat(
            [
                self._chain(x, name, "branch1x1"),
                self._chain(x, name, "branch5x5_1", "branch5x5_2"),
                self._chain(x, name, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
                self._chain(_mean_pool(x), name, "branch_pool"),
            ],
            dim=1,
        )

    def _block_b(self, x: Tensor, name: str) -> Tensor:
        double = self._chain(x, name, "branch3x3dbl_1", "branch3x3dbl_2")
        return torch.cat(
            [
                self._unit(x, f"{name}.branch3x3", stride=2, is_same=False),
                self._unit(double, f"{name}.branch3x3dbl_3", stride=2, is_same=False),
                F.max_pool2d(x, 3, 2),
            ],
            dim=1,
        )

    def _block_c(self, x: Tensor, name: str) -> Tensor:
        return torch.cat(
            [
                self._chain(x, name, "branch1x1"),
                self._chain(x, name, *(f"branch7x7_{at}" for at in (1, 2, 3))),
                self._chain(x, name, *(f"branch7x7dbl_{at}" for at in (1, 2, 3, 4, 5))),
                self._chain(_mean_pool(x), name, "branch_pool"),
            ],
            dim=1,
        )

    def _block_d(self, x: Tensor, name: str) -> Tensor:
        three = self._chain(x, name, "branch3x3_1")
        seven = self._chain(x, name, *(f"branch7x7x3_{at}" for at in (1, 2, 3)))
        return torch.cat(
            [
                self._unit(three, f"{name}.branch3x3_2", stride=2, is_same=False),
                self._unit(seven, f"{name}.branch7x7x3_4", stride=2, is_same=False),
                F.max_pool2d(x, 3, 2),
            ],
            dim=1,
        )

    def _block_e(self, x: Tensor, name: str, pooled: Tensor) -> Tensor:
        three = self._chain(x, name, "branch3x3_1")
        double = self._chain(x, name, "branch3x3dbl_1", "branch3x3dbl_2")
        return torch.cat(
            [
                self._chain(x, name, "branch1x1"),
                *(self._chain(three, name, f"branch3x3_2{side}") for side in "ab"),
                *(self._chain(double, name, f"branch3x3dbl_3{side}") for side in "ab"),
                self._chain(pooled, name, "branch_pool"),
            ],
            dim=1,
        )


def _mean_pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class FeatureMoments:
    """Sums of features, from which a Gaussian is."""

    def __init__(self, num_features: int = NUM_FEATURES) -> None:
        self.count = 0
        self.total = torch.zeros(num_features, dtype=torch.float64)
        self.products = torch.zeros(num_features, num_features, dtype=torch.float64)

    def add(self, features_NF: Tensor) -> None:
        """Take features in."""
        values = features_NF.double()
        self.count += len(values)
        self.total += values.sum(dim=0)
        self.products.addmm_(values.T, values)

    def gaussian(self) -> tuple[Tensor, Tensor]:
        """Return mean and unbiased covariance."""
        mean = self.total / self.count
        spread = self.products - self.count * torch.outer(mean, mean)
        return mean, spread / max(1, self.count - 1)


def frechet_distance(ours: FeatureMoments, theirs: FeatureMoments) -> float:
    """Return ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``.

    The root's trace is that of ``(S1^(1/2) S2 S1^(1/2))^(1/2)``, which is symmetric.
    """
    (mean_a, cov_a), (mean_b, cov_b) = ours.gaussian(), theirs.gaussian()
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    apart = (mean_a - mean_b).square().sum()
    return float(apart + cov_a.trace() + cov_b.trace() - 2 * shared)
