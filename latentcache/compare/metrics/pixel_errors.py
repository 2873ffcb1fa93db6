"""Errors of pictures: PSNR, SSIM, MS-SSIM, flicker; each held in tests against torchmetrics.

Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004;
Wang, Simoncelli and Bovik, "Multiscale Structural Similarity", 2003.

Dimension letters: T frames, C colours, H height, W width.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_PSNR_DB = 100.0
"""What equal pictures score, so that a mean stays finite."""
_PEAK = 255.0
_WINDOW, _SIGMA = 11, 1.5
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
    if min(original_TCHW.shape[-2:]) < _WINDOW:
        return math.nan
    similarity, _ = _similarity(original_TCHW, decoded_TCHW)
    return float(similarity.mean())


def ms_ssim(original_TCHW: Tensor, decoded_TCHW: Tensor) -> float:
    """Return the structural similarity over five scales; NaN below ``MS_SSIM_MIN_PX``."""
    if min(original_TCHW.shape[-2:]) < MS_SSIM_MIN_PX:
        return math.nan
    product = torch.ones(len(original_TCHW), dtype=torch.float64)
    ours, theirs = original_TCHW, decoded_TCHW
    for place, weight in enumerate(_SCALE_WEIGHTS):
        similarity, contrast = _similarity(ours, theirs)
        is_last = place == len(_SCALE_WEIGHTS) - 1
        part = (similarity if is_last else contrast).flatten(1).mean(dim=1).double()
        # A negative contrast has no real power; it is opposite structure, the worst there is.
        product = product * part.clamp(min=0) ** weight
        ours, theirs = F.avg_pool2d(ours, 2), F.avg_pool2d(theirs, 2)
    return float(product.mean())


def _similarity(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the similarity of each window, and its part of contrast and structure."""
    # A variance is a small difference of large squares: float32 leaves 3e-4 of the score.
    ours, theirs = ours.double(), theirs.double()
    c1, c2 = (_K1 * _PEAK) ** 2, (_K2 * _PEAK) ** 2
    mean_a, mean_b = _blurred(ours), _blurred(theirs)
    var_a = _blurred(ours * ours) - mean_a**2
    var_b = _blurred(theirs * theirs) - mean_b**2
    shared = _blurred(ours * theirs) - mean_a * mean_b
    contrast = (2 * shared + c2) / (var_a.clamp(min=0) + var_b.clamp(min=0) + c2)
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return light * contrast, contrast


def _blurred(pictures_TCHW: Tensor) -> Tensor:
    """Return Gaussian means of all windows that lie inside."""
    place = torch.arange(_WINDOW, dtype=torch.float64) - (_WINDOW - 1) / 2
    kernel = torch.exp(-(place**2) / (2 * _SIGMA**2))
    kernel = kernel / kernel.sum()
    flat = pictures_TCHW.flatten(0, 1)[:, None]
    flat = F.conv2d(F.conv2d(flat, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return flat.view(*pictures_TCHW.shape[:2], *flat.shape[-2:])
