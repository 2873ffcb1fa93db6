"""A decoded frame to upright 8-bit sRGB of its planned size, in one step of the scaler.

The rules are part of ``VideoTransform.version``:

- The matrix is the one the file names; where it names none, BT.709 from 1280 px of width or
  577 lines on, else BT.601, as players guess. Full and limited range are told apart; BT.2020
  primaries without HDR are read as BT.709's.
- PQ and HLG are tone-mapped (``decode.tone``), or refused.
- Interlaced frames are seen by their first field, which is a whole picture of one moment.
- Alpha is laid over the background. Pixels that are not square are made so.
- Frames are turned as the file says; lanczos resizes.
"""

from fractions import Fraction
from typing import cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.options import VideoTransform
from latentcache.decode.tone import tone_mapped

Pixels = NDArray[np.uint8]

_SCALER = (
    Interpolation.LANCZOS
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)
_HDR = {int(ColorTrc.SMPTE2084): "pq", int(ColorTrc.ARIB_STD_B67): "hlg"}
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""By the code points of ISO/IEC 23091-2, table "MatrixCoefficients"."""
_PLANAR = ("yuv", "nv", "p0")
"""Formats that the scaler brings to planes twice as fast as to interleaved colours (854x480
as it is: 1.4 and 4.6 ms; from 4K 8.6 and 19 ms; 2-core Xeon VM, November 2026), value by value."""
_HD_WIDTH_PX, _SD_LINES = 1280, 576


class FrameConverter:
    """Turns frames of one video into pixels; keeps the scaler's tables between frames."""

    def __init__(self, transform: VideoTransform, pixel_aspect: Fraction = Fraction(1)) -> None:
        """Prepare.

        Args:
            transform: Rules.
            pixel_aspect: Width over height of a stored pixel.
        """
        self._transform, self._pixel_aspect = transform, pixel_aspect
        self._scaler = VideoReformatter()

    def upright_size(self, frame: VideoFrame) -> tuple[int, int]:
        """Return (width, height) of a frame turned upright, its pixels made square.

        The longer way is kept: a frame is stretched, never squeezed.
        """
        width, height = frame.width, frame.height
        if self._pixel_aspect > 1:
            width = round(width * self._pixel_aspect)
        elif self._pixel_aspect < 1:
            height = round(height / self._pixel_aspect)
        return (height, width) if turns_of(frame) % 2 else (width, height)

    def convert(self, frame: VideoFrame, size_px: tuple[int, int]) -> Pixels:
        """Return a frame, upright, as uint8 sRGB (H, W, 3).

        Args:
            frame: As decoded.
            size_px: (width, height) to return.

        Raises:
            MediaError: It is HDR, which the transform refuses.
        """
        pixels = np.empty((size_px[1], size_px[0], 3), np.uint8)
        self.convert_into(pixels, frame, size_px)
        return pixels

    def convert_into(
        self,
        target_HWC: Pixels,
        frame: VideoFrame,
        size_px: tuple[int, int],
        corner_px: tuple[int, int] = (0, 0),
    ) -> None:
        """Write a part of what ``convert`` returns; no more memory is touched than that.

        Args:
            target_HWC: As large as the part.
            frame: As decoded.
            size_px: (width, height) of the whole frame.
            corner_px: Left and top of the part.

        Raises:
            MediaError: It is HDR, which the transform refuses.
        """
        quarter_turns = turns_of(frame)
        size = size_px if quarter_turns % 2 == 0 else size_px[::-1]
        rows = slice(corner_px[1], corner_px[1] + target_HWC.shape[0])
        columns = slice(corner_px[0], corner_px[0] + target_HWC.shape[1])
        if self._goes_by_planes(frame):
            for channel, plane in enumerate(_rgb_planes(self._reformatted(frame, size, "gbrp"))):
                target_HWC[..., channel] = np.rot90(plane, quarter_turns)[rows, columns]
        else:
            pixels = self._interleaved(frame, size)
            target_HWC[...] = np.rot90(pixels, quarter_turns)[rows, columns]

    def _goes_by_planes(self, frame: VideoFrame) -> bool:
        is_plain = not frame.interlaced_frame and int(frame.color_trc) not in _HDR
        has_alpha = any(component.is_alpha for component in frame.format.components)
        return is_plain and not has_alpha and frame.format.name.startswith(_PLANAR)

    def _interleaved(self, frame: VideoFrame, size_px: tuple[int, int]) -> Pixels:
        """Return a frame as it is stored, not yet upright."""
        hdr = _HDR.get(int(frame.color_trc))
        if hdr is not None:
            return self._from_hdr(frame, size_px, hdr)
        if frame.interlaced_frame:
            field = np.ascontiguousarray(self._scaled(frame, None, "rgb24")[::2])
            whole = VideoFrame.from_ndarray(field, format="rgb24")
            return self._scaled(whole, size_px, "rgb24")
        if any(component.is_alpha for component in frame.format.components):
            return self._over_background(self._scaled(frame, size_px, "rgba"))
        return self._scaled(frame, size_px, "rgb24")

    def _scaled(
        self, frame: VideoFrame, size_px: tuple[int, int] | None, pixel_format: str
    ) -> Pixels:
        # Pixels of 8 bits, but for the format of 16 that HDR asks for.
        return cast(Pixels, self._reformatted(frame, size_px, pixel_format).to_ndarray())

    def _reformatted(
        self, frame: VideoFrame, size_px: tuple[int, int] | None, pixel_format: str
    ) -> VideoFrame:
        width, height = size_px or (frame.width, frame.height)
        is_full = int(frame.color_range) == int(ColorRange.JPEG) or "j" in frame.format.name[:4]
        matrix = _matrix_of(frame)
        return self._scaler.reformat(
            frame,
            width,
            height,
            pixel_format,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            interpolation=_SCALER,
            src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )

    def _from_hdr(self, frame: VideoFrame, size_px: tuple[int, int], curve: str) -> Pixels:
        if self._transform.hdr == "refuse":
            raise MediaError(
                RejectCode.UNSUPPORTED.word,
                f"the video is HDR ({curve.upper()}), which the transform refuses",
            )
        deep = self._scaled(frame, size_px, "rgb48le")
        return tone_mapped(deep, curve=curve)

    def _over_background(self, pixels: Pixels) -> Pixels:
        alpha = pixels[..., 3:].astype(np.uint16)
        behind = np.array(self._transform.background, np.uint16)
        mixed = (pixels[..., :3] * alpha + behind * (255 - alpha) + 127) // 255
        return mixed.astype(np.uint8)


def _rgb_planes(frame: VideoFrame) -> list[Pixels]:
    """Return red, green and blue (H, W) of a frame that keeps them apart; no copy."""
    planes = []
    for number in (2, 0, 1):  # green, blue, red
        plane = frame.planes[number]
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        planes.append(lines[: frame.height, : frame.width])
    return planes


def turns_of(frame: VideoFrame) -> int:
    """Return how many quarter turns, counterclockwise, make a frame upright: 0 to 3."""
    return round(frame.rotation / 90) % 4


def _matrix_of(frame: VideoFrame) -> Colorspace:
    named = _MATRICES.get(int(frame.colorspace))
    if named is not None:
        return named
    is_hd = frame.width >= _HD_WIDTH_PX or frame.height > _SD_LINES
    return Colorspace.ITU709 if is_hd else Colorspace.ITU601
