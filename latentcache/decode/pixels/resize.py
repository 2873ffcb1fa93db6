"""The one resizer: torch's antialiased lanczos on 8-bit values.

Its bits depend on no CPU feature, number of threads or memory layout, and it takes a third of
the time of Pillow's (docs/benchmarks/decode_cpu_202611.md). Values are rounded and clipped to
8 bits between its two passes, the horizontal one first, as Pillow's are, from which they differ
by two levels at most. torch's lanczos of floats is another filter (10 to 32 levels apart) and
is not used.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from latentcache.core.errors import ConfigError

Pixels = NDArray[np.uint8]

_OPERATOR = "_upsample_lanczos2d_aa"
"""Private, but the only way to say how large the source was before a JPEG was halved."""


def resized(
    pixels_HWC: Pixels,
    size_px: tuple[int, int],
    *,
    source_px: tuple[float, float] | None = None,
    corner_px: tuple[int, int] | None = None,
) -> Pixels:
    """Return a picture at another size, uint8 (H, W, C); perhaps the very one that was given.

    Args:
        pixels_HWC: uint8, of any number of channels; colours with alpha must be premultiplied.
        size_px: (width, height) of the whole result.
        source_px: (width, height) that the pixels stand for, where an odd side was rounded up
            when a JPEG was decoded at a half; by default their own.
        corner_px: Right and bottom end of what is wanted of the result; the rest is left out.

    Raises:
        ConfigError: The torch that is installed has no such resizer.
    """
    import torch  # noqa: PLC0415  a header is read without it

    check_torch()
    height, width, num_channels = pixels_HWC.shape
    stood_for, (right, bottom) = source_px or (width, height), corner_px or size_px
    if (width, height) == size_px == stood_for:
        return pixels_HWC[:bottom, :right]
    # An output as large as the input is taken for one that needs no pass, whatever the scale.
    computed = (right + (right == width != size_px[0]), bottom + (bottom == height != size_px[1]))
    # Interleaved colours and single planes are the fast layouts, and only if the result has
    # one of them too is nothing rearranged.
    if num_channels in (3, 4):
        planes = torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None]
        made_HWC = np.empty((computed[1], computed[0], num_channels), np.uint8)
        made = torch.from_numpy(made_HWC).permute(2, 0, 1)[None]
    else:
        planes = torch.from_numpy(pixels_HWC.transpose(2, 0, 1).copy())[None]
        made_HWC = np.empty((num_channels, computed[1], computed[0]), np.uint8)
        made = torch.from_numpy(made_HWC)[None]
        made_HWC = made_HWC.transpose(1, 2, 0)
    operator = getattr(torch.ops.aten, _OPERATOR)
    scales = (size_px[1] / stood_for[1], size_px[0] / stood_for[0])
    operator.out(planes, [computed[1], computed[0]], False, *scales, out=made)
    return made_HWC[:bottom, :right]


def nearest(pixels_HWC: Pixels, size_px: tuple[int, int]) -> Pixels:
    """Return a picture at another size, each pixel one of the picture's own: of labels.

    Args:
        pixels_HWC: uint8.
        size_px: (width, height) of the result.
    """
    height, width = pixels_HWC.shape[:2]
    rows = (2 * np.arange(size_px[1]) + 1) * height // (2 * size_px[1])
    columns = (2 * np.arange(size_px[0]) + 1) * width // (2 * size_px[0])
    return np.ascontiguousarray(pixels_HWC[rows][:, columns])


@lru_cache(maxsize=1)
def check_torch() -> None:
    """Refuse a torch that cannot make pixels; stores are read with any.

    Raises:
        ConfigError: It has no lanczos of 8-bit pictures.
    """
    import torch  # noqa: PLC0415

    if not hasattr(torch.ops.aten, _OPERATOR):
        raise ConfigError(
            f"torch must be 2.13 or newer where pictures are resized, got {torch.__version__} "
            "(it has no lanczos of 8-bit pictures); install torch>=2.13 to encode; reading "
            "stores needs 2.4 only"
        )
