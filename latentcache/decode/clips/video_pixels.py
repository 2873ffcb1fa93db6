"""A decoded frame to upright 8-bit sRGB of its planned size, in one step of the scaler.

The rules are part of ``VideoTransform.version``:

- The matrix is the one the file names; where it names none, BT.709 from 1280 px of width or
  577 lines on, else BT.601, as players guess. Full and limited range are told apart. Matrices
  that are not sums of three numbers are refused (``decode.exact_colour``).
- PQ and HLG are tone-mapped, or refused; other curves and wide gamuts become sRGB
  (``decode.gamut``, ``decode.tone``).
- Interlaced frames are seen by the field that is shown first, a whole picture of one moment.
- Alpha is laid over the background. Pixels that are not square are made so.
- Frames are cropped, turned and mirrored as the file says. Lanczos resizes: FFmpeg's, which
  works on luma and chroma as they are stored; that of pictures (``decode.resize``) where a whole
  frame had to be made first, for its fields, its crop or its alpha.
"""

from fractions import Fraction
from typing import cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.clips.exact_colour import SCALER, FrameColour, colour_of, summed_rgb
from latentcache.decode.clips.first_field import FirstFields
from latentcache.decode.clips.upright import upright_of
from latentcache.decode.pixel_options import VideoTransform
from latentcache.decode.pixels.deep import to_8_bits
from latentcache.decode.pixels.resize import resized
from latentcache.decode.pixels.tone import to_srgb_by_tag
from latentcache.decode.video.matroska_crop import Crop

Pixels = NDArray[np.uint8]

_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
"""By code point; RGB has none."""
_PLANAR = ("yuv", "nv", "p0")
"""Formats that the scaler brings to planes twice as fast as to interleaved colours (854x480
as it is: 1.4 and 4.6 ms; from 4K 8.6 and 19 ms; 2-core Xeon VM, November 2026), value by value."""


class FrameConverter:
    """Turns frames of one video into pixels; keeps the scaler's tables between frames."""

    def __init__(self, transform: VideoTransform, crop: Crop | None = None) -> None:
        """Prepare.

        Args:
            transform: Rules.
            crop: Stored pixels that are not shown.
        """
        self._transform, self._crop = transform, crop or Crop()
        self._scaler, self._fields = VideoReformatter(), FirstFields()

    def upright_size(
        self, frame: VideoFrame, pixel_aspect: Fraction = Fraction(1)
    ) -> tuple[int, int]:
        """Return (width, height) of a frame turned upright, its pixels made square.

        The longer way is kept: a frame is stretched, never squeezed.

        Args:
            frame: As decoded.
            pixel_aspect: Width over height of a stored pixel.
        """
        width, height = self._crop.size_px(frame.width, frame.height)
        if pixel_aspect > 1:
            width = round(width * pixel_aspect)
        elif pixel_aspect < 1:
            height = round(height / pixel_aspect)
        return upright_of(frame).size_px((width, height))

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
        upright = upright_of(frame)
        size = upright.size_px(size_px)
        rows = slice(corner_px[1], corner_px[1] + target_HWC.shape[0])
        columns = slice(corner_px[0], corner_px[0] + target_HWC.shape[1])
        colour = self._checked_colour(frame)
        if self._goes_by_planes(frame, colour):
            planes = _rgb_planes(self._reformatted(frame, size, "gbrp", colour))
            for channel, plane in enumerate(planes):
                target_HWC[..., channel] = upright.apply(plane)[rows, columns]
        else:
            pixels = self._interleaved(frame, size, colour)
            target_HWC[...] = upright.apply(pixels)[rows, columns]

    def _checked_colour(self, frame: VideoFrame) -> FrameColour:
        colour = colour_of(frame)
        if colour.tag.is_hdr and self._transform.hdr == "refuse":
            raise MediaError(
                RejectCode.UNSUPPORTED.word,
                f"the video is HDR ({colour.tag.curve.upper()}), which the transform refuses",
            )
        return colour

    def _goes_by_planes(self, frame: VideoFrame, colour: FrameColour) -> bool:
        is_plain = self._is_shown_whole(frame) and not colour.needs_sums
        return is_plain and not _has_alpha(frame) and frame.format.name.startswith(_PLANAR)

    def _interleaved(
        self, frame: VideoFrame, size_px: tuple[int, int], colour: FrameColour
    ) -> Pixels:
        """Return a frame as it is stored, not yet upright."""
        if self._is_shown_whole(frame) and not _has_alpha(frame):
            return self._srgb(frame, size_px, colour)
        whole = self._srgb(frame, (frame.width, frame.height), colour)
        whole = np.ascontiguousarray(whole[self._shown_part(frame)])
        if not _has_alpha(frame):
            return resized(whole, size_px)
        return self._over_background(resized(_premultiplied(whole), size_px))

    def _is_shown_whole(self, frame: VideoFrame) -> bool:
        return not frame.interlaced_frame and self._crop == Crop()

    def _shown_part(self, frame: VideoFrame) -> tuple[slice, slice]:
        """Return the rows and columns that are not cropped, and of fields only the first's."""
        crop, first_row, step = self._crop, self._crop.top, 1
        if frame.interlaced_frame:
            leading = self._fields.first_row(frame)
            first_row, step = crop.top + (crop.top + leading) % 2, 2
        rows = slice(first_row, frame.height - crop.bottom, step)
        return rows, slice(crop.left, frame.width - crop.right)

    def _srgb(self, frame: VideoFrame, size_px: tuple[int, int], colour: FrameColour) -> Pixels:
        """Return a frame's colours as uint8 (H, W, 3), or (H, W, 4) where it has alpha."""
        if not colour.needs_sums:
            target = "rgba" if _has_alpha(frame) else "rgb24"
            return cast(Pixels, self._reformatted(frame, size_px, target, colour).to_ndarray())
        deep = summed_rgb(frame, size_px, colour, self._scaler)
        if colour.tag.is_srgb:
            return to_8_bits(deep)
        colours = to_srgb_by_tag(deep[..., :3], colour.tag)
        return np.concatenate([colours, to_8_bits(deep[..., 3:])], axis=-1)

    def _reformatted(
        self, frame: VideoFrame, size_px: tuple[int, int], pixel_format: str, colour: FrameColour
    ) -> VideoFrame:
        matrix = _MATRICES.get(colour.matrix)
        return self._scaler.reformat(
            frame,
            *size_px,
            pixel_format,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            interpolation=SCALER,
            src_color_range=ColorRange.JPEG if colour.is_full else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )

    def _over_background(self, pixels: Pixels) -> Pixels:
        """Return premultiplied colours laid over the background."""
        behind = np.array(self._transform.background, np.uint16)
        clear = 255 - pixels[..., 3:].astype(np.uint16)
        mixed = pixels[..., :3] + (behind * clear + 127) // 255
        return np.minimum(mixed, 255).astype(np.uint8)


def _has_alpha(frame: VideoFrame) -> bool:
    return any(component.is_alpha for component in frame.format.components)


def _premultiplied(pixels: Pixels) -> Pixels:
    """Return (H, W, 4) with its colours multiplied by alpha: what is clear has no colour."""
    alpha = pixels[..., 3:].astype(np.uint16)
    colours = ((pixels[..., :3] * alpha + 127) // 255).astype(np.uint8)
    return np.concatenate([colours, pixels[..., 3:]], axis=-1)


def _rgb_planes(frame: VideoFrame) -> list[Pixels]:
    """Return red, green and blue (H, W) of a frame that keeps them apart; no copy."""
    planes = []
    for number in (2, 0, 1):  # green, blue, red
        plane = frame.planes[number]
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        planes.append(lines[: frame.height, : frame.width])
    return planes
