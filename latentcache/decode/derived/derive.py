"""Which function makes which derived input, and with which version of it.

Dimension letters: T frames, H height, W width, C channels.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentcache.core.inputs import DERIVED, parse_input
from latentcache.decode.derived import blur, canny, grey, low_resolution

Pixels = NDArray[np.uint8]


def _as_it_is(pixels_HWC: Pixels, _: float | None) -> Pixels:
    """Return pixels that were decoded so already; see ``decode.picture.decode_image``."""
    return pixels_HWC


_MADE: Mapping[str, tuple[int, Callable[[Pixels, float | None], Pixels]]] = {
    "alpha": (1, _as_it_is),
    "blur": (blur.VERSION, blur.blur),
    "canny": (canny.VERSION, canny.canny),
    "grey": (grey.VERSION, grey.grey),
    "low_resolution": (low_resolution.VERSION, low_resolution.low_resolution),
    "nearest": (1, _as_it_is),
}
assert _MADE.keys() == DERIVED.keys(), "every derived input is made by a function"


def derived_identity(asked: str) -> dict[str, Any] | None:
    """Return how an input's pixels are changed, for the fingerprint; None where they are not."""
    found = parse_input(asked)
    if not found.derived:
        return None
    return {"name": found.derived, "version": _MADE[found.derived][0], "amount": found.amount}


def derive(pixels_THWC: Pixels, asked: str) -> None:
    """Change the frames of one sample in place, as its input says.

    Args:
        pixels_THWC: uint8 sRGB.
        asked: The input, as ``core.inputs`` writes it.
    """
    found = parse_input(asked)
    if found.derived:
        make = _MADE[found.derived][1]
        for frame in pixels_THWC:
            frame[:] = make(frame, found.amount)
