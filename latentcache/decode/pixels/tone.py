"""Tagged colours to sRGB, by stated rules that give the same bits on every machine.

Numbers become light by their curve, light becomes BT.709 primaries, what lies beyond them is
clipped channel by channel, and the sRGB curve follows.

HDR, by one stated rule: reference white to white, what is brighter rolled off. PQ and HLG
pixels become light in nits (HLG on a 1,000-nit display), and 203 nits, HDR's reference white
(ITU-R BT.2408), count as 1. What is below half of that stays as it is; above it the brightest
of the three channels is rolled off so that 1,000 nits become 1, the others keep their ratio to it.

Powers are looked up in tables and sums are made channel by channel: what BLAS and vector
libraries return depends on the processor.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentcache.decode.pixels.gamut import ColourTag, to_bt709

Floats = NDArray[np.float32]

REFERENCE_WHITE_NITS = 203.0
PEAK_NITS = 1000.0
_KNEE = 0.5
_STEPS = 1 << 16
"""Of light from 0 to 1, where a curve is looked up: at most 0.05 of a level of 8 bits apart."""
_LUMA_2020 = (0.2627, 0.6780, 0.0593)


def to_srgb_by_tag(pixels: NDArray[Any], tag: ColourTag) -> NDArray[np.uint8]:
    """Return tagged pixels as sRGB.

    Args:
        pixels: uint8 or uint16 (H, W, 3), full range.
        tag: Their curve and primaries.
    """
    num_levels = 1 << (8 * pixels.dtype.itemsize)
    if tag.curve == "hlg":
        light = _hlg_light(_channels(_hlg_scene(num_levels)[pixels]))
    else:
        light = _channels(_light_of(tag.curve, num_levels)[pixels])
    light = [_weighted(row, light) for row in to_bt709(tag.primaries)]
    for channel in light:
        np.maximum(channel, np.float32(0), out=channel)
    if tag.is_hdr:
        light = _rolled_off(light)
    found = np.empty(pixels.shape, np.uint8)
    for number, channel in enumerate(light):
        steps = np.minimum(channel, np.float32(1)) * np.float32(_STEPS - 1) + np.float32(0.5)
        found[..., number] = _srgb_levels()[steps.astype(np.int32)]
    return found


def grey_to_srgb(values: NDArray[Any], tag: ColourTag) -> NDArray[np.uint8]:
    """Return tagged greys, uint8 or uint16 (H, W), as sRGB: white and grey have no primaries."""
    return to_srgb_by_tag(np.stack([values] * 3, axis=-1), tag)[..., 0]


def _channels(light_HWC: Floats) -> list[Floats]:
    return [np.ascontiguousarray(light_HWC[..., number]) for number in range(3)]


def _weighted(weights: Sequence[float], channels: Sequence[Floats]) -> Floats:
    """Return a sum that is the same on every machine."""
    red, green, blue = (
        np.float32(weight) * channel for weight, channel in zip(weights, channels, strict=True)
    )
    total: Floats = red + green + blue
    return total


def _hlg_light(scene: list[Floats]) -> list[Floats]:
    """Return light as shares of reference white from HLG's light before the camera.

    The display's own curve: gamma 1.2 of luminance at 1,000 nits; source: BT.2100, table 5.
    """
    luminance = np.minimum(_weighted(_LUMA_2020, scene), np.float32(1))
    steps = (luminance * np.float32(_STEPS - 1) + np.float32(0.5)).astype(np.int32)
    gain = _hlg_gain()[steps]
    return [channel * gain for channel in scene]


def _rolled_off(light: list[Floats]) -> list[Floats]:
    """Return light with its brightest channel at most 1; hues keep their ratios.

    Source: the Moebius curve of FFmpeg's ``tonemap`` filter: linear up to a knee, then a
    hyperbola of the same slope that reaches 1 at the peak.
    """
    peak, knee = PEAK_NITS / REFERENCE_WHITE_NITS, _KNEE
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
    scale = (b * b + 2 * b * knee + knee**2) / (b - a)
    brightest = np.maximum(np.maximum(light[0], light[1]), np.maximum(light[2], np.float32(1e-6)))
    bent = np.float32(scale) * (brightest + np.float32(a)) / (brightest + np.float32(b))
    mapped: Floats = np.where(brightest <= knee, brightest, np.minimum(bent, np.float32(1)))
    return [np.multiply(channel / brightest, mapped, dtype=np.float32) for channel in light]


@lru_cache(maxsize=1)
def _srgb_levels() -> NDArray[np.uint8]:
    """Source: IEC 61966-2-1."""
    light = np.linspace(0, 1, _STEPS)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(curved * 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _light_of(curve: str, num_levels: int) -> Floats:
    """Return the light of each number, 1 for white (for PQ: reference white).

    Source: H.273, table 3, but for sRGB's own curve.
    """
    signal = np.linspace(0, 1, num_levels)
    name, _, argument = curve.partition(" ")
    if name == "pq":
        light = _pq_nits(signal) / REFERENCE_WHITE_NITS
    elif name == "gamma":
        light = signal ** float(argument)
    elif name == "dci":
        light = signal**2.6 * 52.37 / 48
    elif name == "log":
        decades = 2.0 if argument == "100" else 2.5
        light = np.where(signal > 0, 10 ** ((signal - 1) * decades), 0.0)
    elif name == "linear":
        light = signal
    else:
        light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def _pq_nits(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Source: SMPTE ST 2084, equation 4.1."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = signal ** (1 / m2)
    nits: NDArray[np.float64] = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return nits


@lru_cache(maxsize=2)
def _hlg_scene(num_levels: int) -> Floats:
    """Source: ITU-R BT.2100, table 5, the inverse of HLG's transfer function."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = np.linspace(0, 1, num_levels)
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return scene.astype(np.float32)


@lru_cache(maxsize=1)
def _hlg_gain() -> Floats:
    luminance = np.maximum(np.linspace(0, 1, _STEPS), 1e-6)
    return (PEAK_NITS / REFERENCE_WHITE_NITS * luminance**0.2).astype(np.float32)
