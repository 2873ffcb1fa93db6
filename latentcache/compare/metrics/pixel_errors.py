"""Errors of pictures: PSNR, SSIM, MS-SSIM, flicker; each held in tests against torchmetrics.

Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004;
Wang, Simoncelli and Bovik, "Multiscale Structural Similarity", 2003.

Dimension letters: T frames, C colours, H height, W width.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_PSNR_DB = 100.0
"""What equal pictures score, so that a mean stays finite."""
_PEAK = 255.0
_WINDOW, _SIGMA = 11, 1.5
_RUN = 32
"""Windows of one product."""
_K1, _K2 = 0.01, 0.03
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_PX = _WINDOW * 2 ** (len(_SCALE_WEIGHTS) - 1)
"""The shorter side must hold the window after four halvings."""


def psnr(original_TCHW: Tensor, decoded_TCHW: Tensor) -> float:
    """Return ``10 log10(255^2 / MSE)`` over all values, on the scale 0 to 255."""
    mean_squared = float((original_TCHW - decoded_TCHW).double().square().mean())
    if mean_squared <= 0:
        return MAX_PSNR_DB
    return min(MAX_PSNR_DB, 10 * math.log10(_PEAK**2 / mean_squared))


def flicker(original_TCHW: Tensor, decoded_TCHW: Tensor) -> float:
    """Return the root mean square error of what changes from frame to frame, in levels of 255.

    A still error does not count; one that comes and goes does. NaN of one frame.
    """
    if len(original_TCHW) < 2:
        return math.nan
    error = (decoded_TCHW.diff(dim=0) - original_TCHW.diff(dim=0)).double()
    return float(error.square().mean().sqrt())


def ssim(original_TCHW: Tensor, decoded_TCHW: Tensor) -> float:
    """Return the mean structural similarity over windows that lie inside, colours and frames.

    NaN of pictures smaller than the window.
    """
    return similarities(original_TCHW, decoded_TCHW, num_scales=1)[0]


def ms_ssim(original_TCHW: Tensor, decoded_TCHW: Tensor) -> float:
    """Return the structural similarity over five scales; NaN below ``MS_SSIM_MIN_PX``."""
    return similarities(original_TCHW, decoded_TCHW)[1]


def similarities(
    original_TCHW: Tensor, decoded_TCHW: Tensor, *, num_scales: int = len(_SCALE_WEIGHTS)
) -> tuple[float, float]:
    """Return SSIM and MS-SSIM, whose first scale is the same; NaN of pictures too small for one.

    Args:
        original_TCHW: On the scale 0 to 255.
        decoded_TCHW: Likewise.
        num_scales: 1 leaves MS-SSIM out.
    """
    shorter = min(original_TCHW.shape[-2:])
    if shorter < _WINDOW:
        return math.nan, math.nan
    has_scales = shorter >= MS_SSIM_MIN_PX and num_scales > 1
    # A variance is a small difference of large squares: float32 leaves 3e-4 of the score.
    ours, theirs = original_TCHW.double(), decoded_TCHW.double()
    product, whole = torch.ones(len(ours), dtype=torch.float64), math.nan
    for place, weight in enumerate(_SCALE_WEIGHTS if has_scales else (1.0,)):
        similarity, contrast = _similarity(ours, theirs)
        if place == 0:
            whole = float(similarity.mean())
        is_last = place == len(_SCALE_WEIGHTS) - 1
        part = (similarity if is_last else contrast).flatten(1).mean(dim=1)
        # A negative contrast has no real power; it is opposite structure, the worst there is.
        product = product * part.clamp(min=0) ** weight
        if has_scales and not is_last:
            ours, theirs = F.avg_pool2d(ours, 2), F.avg_pool2d(theirs, 2)
    return whole, float(product.mean()) if has_scales else math.nan


def _similarity(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the similarity of each window, and its part of contrast and structure; float64."""
    c1, c2 = (_K1 * _PEAK) ** 2, (_K2 * _PEAK) ** 2
    maps = torch.stack([ours, theirs, ours * ours, theirs * theirs, ours * theirs])
    mean_a, mean_b, square_a, square_b, product = _blurred(maps)
    var_a, var_b = square_a - mean_a**2, square_b - mean_b**2
    shared = product - mean_a * mean_b
    contrast = (2 * shared + c2) / (var_a.clamp(min=0) + var_b.clamp(min=0) + c2)
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return light * contrast, contrast


def _blurred(maps: Tensor) -> Tensor:
    """Return Gaussian means, float64, of all windows that lie inside the last two dimensions."""
    down = _blurred_along(maps.transpose(-1, -2)).transpose(-1, -2)
    return _blurred_along(down)


def _blurred_along(maps: Tensor) -> Tensor:
    """Return Gaussian means along the last dimension.

    As products of overlapping runs with a band: a convolution in float64 takes ten times as long
    (2 cores, torch 2.13, 2026-11).
    """
    count = maps.shape[-1] - _WINDOW + 1
    num_runs = -(-count // _RUN)
    padded = F.pad(maps, (0, num_runs * _RUN + _WINDOW - 1 - maps.shape[-1]))
    runs = padded.unfold(-1, _RUN + _WINDOW - 1, _RUN)
    return (runs @ _band()).flatten(-2)[..., :count]


@cache
def _band() -> Tensor:
    """Return what takes a run of pixels to its windows' means, float64 [run + 10, run]."""
    place = torch.arange(_WINDOW, dtype=torch.float64) - (_WINDOW - 1) / 2
    kernel = torch.exp(-(place**2) / (2 * _SIGMA**2))
    kernel = kernel / kernel.sum()
    band = torch.zeros(_RUN + _WINDOW - 1, _RUN, dtype=torch.float64)
    for column in range(_RUN):
        band[column : column + _WINDOW, column] = kernel
    return band
