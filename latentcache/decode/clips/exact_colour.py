"""Frames to RGB by the definition of their matrix and range, where FFmpeg's scaler is not exact.

The scaler is right to half a level for most video (8 bits, and deeper limited range; see
docs/benchmarks/colour_cpu_202611.md). It is not for full range of more than 8 bits (white at
254.9 or 256), for greys of limited range (taken for full), for YCgCo (taken for BT.601), and
where more than 8 bits come out (white at 254 of 255). There it only resizes, plane by plane, and
the sums are made here, channel by channel, so that they are the same on every machine.
"""

from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.pixels.gamut import ColourTag

Floats = NDArray[np.float32]
Deep = NDArray[np.uint16]

SCALER = (
    Interpolation.LANCZOS
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)
"""Without the last four FFmpeg's scaler is 1 to 1.5 levels too dark."""

_LUMA = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
"""Weights of red and blue in luma, by matrix; source: H.273, table 4."""
YCGCO = 8
_REFUSED = {
    10: "BT.2020 constant luminance",
    11: "Y'D'zD'x",
    12: "derived from chromaticities",
    13: "derived from chromaticities, constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
_HD_WIDTH_PX, _SD_LINES = 1280, 576


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameColour:
    """How a frame's numbers become colours.

    Attributes:
        matrix: Code point of the matrix, named or guessed.
        is_full: Whether black is 0 and white the largest number.
        tag: Curve and primaries of what comes out.
        depth: Bits of its deepest component.
        needs_sums: Whether FFmpeg's scaler is not exact for it.
    """

    matrix: int
    is_full: bool
    tag: ColourTag
    depth: int
    needs_sums: bool


def colour_of(frame: VideoFrame) -> FrameColour:
    """Return how a frame's numbers become colours.

    Raises:
        MediaError: ``unsupported``: its matrix is one that is not converted.
    """
    form = frame.format
    depth = max(component.bits for component in form.components)
    is_full = int(frame.color_range) == int(ColorRange.JPEG) or "j" in form.name[:4]
    tag = ColourTag.from_cicp(int(frame.color_primaries), int(frame.color_trc))
    if form.name.startswith("xyz"):
        tag = ColourTag()  # the scaler makes BT.709 of it
    matrix = 0 if form.is_rgb else _matrix_of(frame)
    is_grey = form.name.startswith("gray")
    is_deep = depth > 8
    needs_sums = (
        matrix == YCGCO
        or not tag.is_srgb
        or (is_grey and (not is_full or is_deep))
        or (is_deep and (is_full or form.is_rgb))
    )
    can_sum = depth <= 16 and not form.name.startswith(("xyz", "bayer"))
    return FrameColour(
        matrix=matrix,
        is_full=is_full or form.is_rgb,
        tag=tag,
        depth=depth,
        needs_sums=needs_sums and can_sum,
    )


def _matrix_of(frame: VideoFrame) -> int:
    """Return the matrix a frame names; else BT.709 for HD, BT.601 below, as players guess."""
    named = int(frame.colorspace)
    if named in _REFUSED:
        raise MediaError(
            RejectCode.UNSUPPORTED.word,
            f"the video's matrix is {_REFUSED[named]} (code point {named}), which is not "
            "converted; convert it to BT.709 or BT.2020 first",
        )
    if named in _LUMA or named == YCGCO:
        return named
    is_hd = frame.width >= _HD_WIDTH_PX or frame.height > _SD_LINES
    return 1 if is_hd else 6


def summed_rgb(
    frame: VideoFrame, size_px: tuple[int, int], colour: FrameColour, scaler: VideoReformatter
) -> Deep:
    """Return a frame's colours, 0 to 65535, as (H, W, 3), or (H, W, 4) where it has alpha.

    Args:
        frame: As decoded.
        size_px: (width, height) to return.
        colour: Of this frame.
        scaler: Resizes; keeps its tables between frames.
    """
    has_alpha = any(component.is_alpha for component in frame.format.components)
    planes = _resized_planes(frame, size_px, scaler, has_alpha=has_alpha)
    largest = np.float32(((1 << colour.depth) - 1) << (16 - colour.depth))
    if frame.format.is_rgb:
        green, blue, red = (plane / largest for plane in planes[:3])
    elif len(planes) == 1:
        red = green = blue = _luma(planes[0], largest, is_full=colour.is_full)
    else:
        red, green, blue = _from_yuv(planes, largest, colour)
    channels = [red, green, blue]
    if has_alpha:
        channels.append(planes[3] / largest)
    found = np.empty((size_px[1], size_px[0], len(channels)), np.uint16)
    for number, channel in enumerate(channels):
        steps = np.clip(channel, np.float32(0), np.float32(1)) * np.float32(65535)
        found[..., number] = (steps + np.float32(0.5)).astype(np.uint16)
    return found


def _resized_planes(
    frame: VideoFrame, size_px: tuple[int, int], scaler: VideoReformatter, *, has_alpha: bool
) -> list[Floats]:
    """Return planes of equal size, their numbers as the upper ones of 16 bits."""
    if frame.format.name.startswith("gray"):
        target = frame.format.name  # between depths, the scaler does not treat all sizes alike
    elif frame.format.is_rgb:
        target = "gbrap16le" if has_alpha else "gbrp16le"
    else:
        target = "yuva444p16le" if has_alpha else "yuv444p16le"
    # Matrix and range are equal on both sides: nothing but the size may change.
    same = ColorRange.JPEG if frame.format.name.startswith("yuvj") else ColorRange.MPEG
    resized = scaler.reformat(
        frame,
        *size_px,
        target,
        interpolation=SCALER,
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=same,
        dst_color_range=same,
        threads=1,
    )
    return [_plane(resized, number) for number in range(len(resized.planes))]


def _plane(frame: VideoFrame, number: int) -> Floats:
    plane, bits = frame.planes[number], frame.format.components[0].bits
    kind = np.dtype(np.uint8 if bits == 8 else frame_numbers(frame))
    lines = np.frombuffer(memoryview(plane), kind).reshape(-1, plane.line_size // kind.itemsize)
    shown: Floats = lines[: frame.height, : frame.width].astype(np.float32)
    return shown * np.float32(1 << (16 - bits))


def frame_numbers(frame: VideoFrame) -> str:
    """Return numpy's name for the numbers of a frame of more than 8 bits."""
    return ">u2" if frame.format.is_big_endian else "<u2"


def _luma(plane: Floats, largest: np.float32, *, is_full: bool) -> Floats:
    """Return 0 for black and 1 for white; source: H.273, equations 20 and 23."""
    if is_full:
        return plane / largest
    return (plane - np.float32(16 << 8)) / np.float32(219 << 8)


def _from_yuv(planes: list[Floats], largest: np.float32, colour: FrameColour) -> list[Floats]:
    """Return red, green and blue; source: H.273, equations 21 to 25 and 38 to 43, 48 to 50."""
    luma = _luma(planes[0], largest, is_full=colour.is_full)
    chroma = largest if colour.is_full else np.float32(224 << 8)
    cb, cr = ((plane - np.float32(1 << 15)) / chroma for plane in planes[1:3])
    if colour.matrix == YCGCO:
        rest = luma - cb
        return [rest + cr, luma + cb, rest - cr]
    of_red, of_blue = _LUMA[colour.matrix]
    of_green = 1 - of_red - of_blue
    red = luma + np.float32(2 * (1 - of_red)) * cr
    blue = luma + np.float32(2 * (1 - of_blue)) * cb
    from_cb = np.float32(2 * of_blue * (1 - of_blue) / of_green) * cb
    from_cr = np.float32(2 * of_red * (1 - of_red) / of_green) * cr
    return [red, luma - from_cb - from_cr, blue]
