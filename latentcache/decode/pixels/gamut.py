"""What a picture's or clip's numbers mean, where they do not mean sRGB: its curve and primaries.

Code points are those of ISO/IEC 23091-2 (ITU-T H.273), as PNG's ``cICP``, AVIF's ``nclx``, ICC
profiles' ``cicp`` and video streams give them.

- Curves made for television (BT.470, 601, 709, 2020, SMPTE 240M, xvYCC) are read as sRGB's, as
  players show them; so are curves that are not named.
- Primaries of television before BT.2020 and of film are read as BT.709's, as players show them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Chromaticities = tuple[float, ...]
"""x and y of red, green, blue and white."""

_D65, _DCI = (0.3127, 0.3290), (0.314, 0.351)
BT709: Chromaticities = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65)
BT2020: Chromaticities = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65)
_PRIMARIES: dict[int, Chromaticities] = {
    9: BT2020,
    10: (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_DCI),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
}
"""Source: H.273, table 2."""
_CURVES = {8: "linear", 9: "log 100", 10: "log 316", 16: "pq", 17: "dci", 18: "hlg"}
"""Source: H.273, table 3."""
HDR_CURVES = ("pq", "hlg")

_SAME = 0.005
"""Chromaticities so close are those of sRGB, written with fewer digits."""
_PNG_SRGB_GAMMA, _GAMMA_SLACK = 1 / 2.2, 0.05
"""A file's gamma within 5 % of 1/2.2 is that of sRGB; source: libpng, PNG_GAMMA_THRESHOLD."""
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
"""Source: ICC.1:2010, annex E."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourTag:
    """How numbers become light.

    Attributes:
        curve: ``srgb``, ``linear``, ``pq``, ``hlg``, ``gamma G``, ``log 100``, ``log 316`` or
            ``dci``.
        primaries: Of red, green, blue and white.
    """

    curve: str = "srgb"
    primaries: Chromaticities = BT709

    @property
    def is_hdr(self) -> bool:
        """Whether it holds light beyond white."""
        return self.curve in HDR_CURVES

    @property
    def is_srgb(self) -> bool:
        """Whether nothing is to be done."""
        return self.curve == "srgb" and self.primaries == BT709

    @classmethod
    def from_cicp(cls, primaries: int, transfer: int) -> "ColourTag":
        """Return what code points say; HDR without primaries is of BT.2020."""
        curve = _CURVES.get(transfer, "srgb")
        unnamed = BT2020 if curve in HDR_CURVES and primaries != 1 else BT709
        return cls(curve=curve, primaries=_PRIMARIES.get(primaries, unnamed))

    @classmethod
    def from_png(
        cls, gamma: float | None, white_and_colours: Sequence[float] | None
    ) -> "ColourTag":
        """Return what a PNG's ``gAMA`` and ``cHRM`` say; numbers that cannot be are ignored.

        Args:
            gamma: The exponent that made the file's numbers of light.
            white_and_colours: x and y of white, red, green, blue.
        """
        curve = "srgb"
        if gamma and 0.1 <= gamma <= 10 and abs(gamma / _PNG_SRGB_GAMMA - 1) > _GAMMA_SLACK:
            curve = "linear" if gamma == 1 else f"gamma {1 / gamma:.6g}"
        told = tuple(float(value) for value in white_and_colours or ())
        primaries = (*told[2:], *told[:2])
        if len(told) != 8 or not _is_triangle(primaries):
            primaries = BT709
        return cls(curve=curve, primaries=primaries)


def _is_triangle(primaries: Chromaticities) -> bool:
    """Return whether chromaticities can be inverted, and are not just sRGB's."""
    if max(abs(a - b) for a, b in zip(primaries, BT709, strict=True)) <= _SAME:
        return False
    rx, ry, gx, gy, bx, by, _, white_y = primaries
    area = abs((gx - rx) * (by - ry) - (bx - rx) * (gy - ry)) / 2
    is_inside = all(-0.2 <= value <= 1.2 for value in primaries)
    return area > 0.01 and is_inside and white_y > 0.05


@lru_cache(maxsize=32)
def to_bt709(primaries: Chromaticities) -> tuple[tuple[float, ...], ...]:
    """Return the matrix from light in other primaries to light in BT.709's, white to white.

    Source: SMPTE RP 177; another white is adapted by Bradford's rule.
    """
    away = np.linalg.inv(_to_xyz(BT709)) @ _adapted(primaries) @ _to_xyz(primaries)
    return tuple(tuple(float(value) for value in row) for row in away.astype(np.float32))


def _to_xyz(primaries: Chromaticities) -> NDArray[np.float64]:
    columns = np.array(
        [[x, y, 1 - x - y] for x, y in zip(primaries[:6:2], primaries[1:6:2], strict=True)]
    )
    scales = np.linalg.solve(columns.T, _white(primaries))
    return columns.T * scales


def _white(primaries: Chromaticities) -> NDArray[np.float64]:
    x, y = primaries[6:]
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _adapted(primaries: Chromaticities) -> NDArray[np.float64]:
    """Return what takes XYZ under a white to XYZ under D65."""
    there, here = (_BRADFORD @ _white(each) for each in (primaries, BT709))
    moved: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ np.diag(here / there) @ _BRADFORD
    return moved
