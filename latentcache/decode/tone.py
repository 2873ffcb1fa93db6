"""HDR to sRGB, by one stated rule: reference white to white, what is brighter rolled off.

PQ and HLG pixels become light in nits (HLG on a 1,000-nit display), light becomes BT.709
primaries, and 203 nits, HDR's reference white (ITU-R BT.2408), count as 1. What is below half
of that stays as it is; above it the brightest of the three channels is rolled off so that
1,000 nits become 1, the others keep their ratio to it, and the sRGB curve follows.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

REFERENCE_WHITE_NITS = 203.0
PEAK_NITS = 1000.0
_KNEE = 0.5
_LEVELS = 1 << 16
_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
"""BT.2020 to BT.709 primaries in linear light; source: ITU-R BT.2087, equation 2."""
_LUMA_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)


def tone_mapped(pixels: NDArray[Any], *, curve: str) -> NDArray[np.uint8]:
    """Return HDR pixels as sRGB.

    Args:
        pixels: uint16 (H, W, 3), full range, BT.2020 primaries.
        curve: ``pq`` or ``hlg``.
    """
    if curve == "pq":
        nits = _pq_nits()[pixels]
    else:
        scene = _hlg_scene()[pixels]
        # The display's own curve: gamma 1.2 of luminance at 1,000 nits; source: BT.2100, table 5.
        luminance = scene @ _LUMA_2020
        nits = scene * (PEAK_NITS * np.maximum(luminance, 1e-6) ** 0.2)[..., None]
    light = np.maximum((nits / REFERENCE_WHITE_NITS) @ _TO_BT709.T, 0.0)
    return _srgb(_rolled_off(light))


def _rolled_off(light: Floats) -> Floats:
    """Return light with its brightest channel at most 1; hues keep their ratios.

    Source: the Moebius curve of FFmpeg's ``tonemap`` filter: linear up to a knee, then a
    hyperbola of the same slope that reaches 1 at the peak.
    """
    peak, knee = PEAK_NITS / REFERENCE_WHITE_NITS, _KNEE
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
    scale = (b * b + 2 * b * knee + knee**2) / (b - a)
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    bent = scale * (brightest + a) / (brightest + b)
    mapped = np.where(brightest <= knee, brightest, np.minimum(bent, 1.0))
    kept: Floats = np.minimum(light / brightest * mapped, 1.0)
    return kept


def _srgb(light: Floats) -> NDArray[np.uint8]:
    """Source: IEC 61966-2-1."""
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(curved * 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _pq_nits() -> Floats:
    """Source: SMPTE ST 2084, equation 4.1."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = np.linspace(0, 1, _LEVELS) ** (1 / m2)
    nits = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return nits.astype(np.float32)


@lru_cache(maxsize=1)
def _hlg_scene() -> Floats:
    """Source: ITU-R BT.2100, table 5, the inverse of HLG's transfer function."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = np.linspace(0, 1, _LEVELS)
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return scene.astype(np.float32)
