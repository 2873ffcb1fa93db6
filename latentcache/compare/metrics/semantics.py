"""Semantics: can labels be read off the latents, and better than off small raw pixels?

kNN with k = 20, cosine and temperature 0.07 as in DINO (Caron et al., 2021); a linear probe by
logistic regression in five folds; separability ``tr(S_b) / tr(S_w)``. Features are standardized.

Dimension letters: N samples, F features, C channels, T frames, H height, W width, D draws.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latentcache.compare.metrics.interval import Floats

_POOLED = 4
_PIXELS = 8
_K, _TEMPERATURE = 20, 0.07
_NUM_FOLDS = 5
_DECAY = 1e-2
MAX_FEATURES = 2048


def latent_features(latent_CTHW: Tensor) -> Tensor:
    """Return a latent pooled to 4 x 4 cells and over time, float32 [F]; of many channels to one."""
    flat = latent_CTHW.mean(dim=1)
    cells = _POOLED if len(flat) * _POOLED**2 <= MAX_FEATURES else 1
    return F.adaptive_avg_pool2d(flat, cells).flatten()


def pixel_features(pixels_TCHW: Tensor) -> Tensor:
    """Return a picture pooled to 8 x 8 px, of a clip its mean over time, float32 [F]."""
    return F.adaptive_avg_pool2d(pixels_TCHW.mean(dim=0), _PIXELS).flatten()


def standardized(features_NF: Tensor) -> Tensor:
    """Return features of mean 0 and deviation 1; those that never change are 0."""
    centred = features_NF - features_NF.mean(dim=0)
    spread = centred.std(dim=0, correction=0)
    return torch.where(spread > 1e-8, centred / spread.clamp(min=1e-8), 0.0)


def neighbours(features_NF: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return likeness and numbers of each sample's nearest others, nearest first [N, count]."""
    unit = F.normalize(standardized(features_NF), dim=1)
    likeness = unit @ unit.T
    likeness.fill_diagonal_(-2.0)
    found = likeness.topk(min(count, len(unit) - 1), dim=1)
    return found.values, found.indices


def knn_right(features_NF: Tensor, classes_N: Tensor) -> Floats:
    """Return 1 of each sample whose class its nearest others name, each left out in turn [N]."""
    likeness, places = neighbours(features_NF, _K)
    votes = torch.zeros(len(classes_N), int(classes_N.max()) + 1)
    votes.scatter_add_(1, classes_N[places], (likeness / _TEMPERATURE).exp())
    right: Floats = (votes.argmax(dim=1) == classes_N).double().numpy()
    return right


def linear_right(features_NF: Tensor, classes_N: Tensor, *, seed: int = 0) -> Floats:
    """Return 1 of each sample that a linear probe trained without its fold gets right [N]."""
    generator = torch.Generator().manual_seed(seed)
    fold = torch.randperm(len(classes_N), generator=generator) % _NUM_FOLDS
    right = torch.zeros(len(classes_N), dtype=torch.float64)
    for number in range(_NUM_FOLDS):
        held = fold == number
        if not held.any() or held.all():
            continue
        train = features_NF[~held]
        spread = train.std(dim=0, correction=0)
        scaled = (features_NF - train.mean(dim=0)) / spread.clamp(min=1e-8)
        scaled = torch.where(spread > 1e-8, scaled, 0.0)
        weights = _fit(scaled[~held], classes_N[~held], int(classes_N.max()) + 1)
        guess = (scaled[held] @ weights[0] + weights[1]).argmax(dim=1)
        right[held] = (guess == classes_N[held]).double()
    found: Floats = right.numpy()
    return found


def scatter(features_NF: Tensor, classes_N: Tensor) -> Floats:
    """Return each sample's squared distance to its class mean, and of that to the mean [N, 2]."""
    values = standardized(features_NF).double()
    means = torch.stack(
        [values[classes_N == each].mean(dim=0) for each in range(int(classes_N.max()) + 1)]
    )
    within = (values - means[classes_N]).square().sum(dim=1)
    between = (means[classes_N] - values.mean(dim=0)).square().sum(dim=1)
    found: Floats = torch.stack([within, between], dim=1).numpy()
    return found


def separability(means_D2: Floats) -> Floats:
    """Return ``tr(S_b) / tr(S_w)`` [D]."""
    within, between = means_D2[:, 0], means_D2[:, 1]
    return np.divide(between, within, out=np.full_like(within, np.nan), where=within > 0)


def usable_classes(labels: Sequence[str | None]) -> tuple[list[int], list[int], int]:
    """Return places of samples whose label another has too, their classes, and how many."""
    counts = Counter(each for each in labels if each is not None)
    names = sorted(name for name, count in counts.items() if count > 1)
    number = {name: place for place, name in enumerate(names)}
    places = [place for place, each in enumerate(labels) if each in number]
    return places, [number[str(labels[place])] for place in places], len(names)


def _fit(features_NF: Tensor, classes_N: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    weight = torch.zeros(features_NF.shape[1], num_classes, requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = F.cross_entropy(features_NF @ weight + bias, classes_N)
        found = found + _DECAY * weight.square().sum()
        torch.autograd.backward(found)
        return found

    optimizer.step(loss)  # type: ignore[no-untyped-call]  # torch's optimizers are untyped
    return weight.detach(), bias.detach()
