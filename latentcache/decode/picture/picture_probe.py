"""What a picture's header says, without decoding a pixel."""

from typing import BinaryIO

from PIL import ImageFile

from latentcache.core.media import MediaInfo
from latentcache.decode.picture.exif_orientation import oriented_size, read_orientation
from latentcache.decode.picture.open_picture import open_image
from latentcache.decode.pixel_options import ImageLimits
from latentcache.decode.reject_reasons import DECODER_ERRORS

_FRAMED_FORMATS = frozenset({"GIF", "PNG", "WEBP", "AVIF", "TIFF"})
"""Further frames are frames or pages; in the others they are depth maps, previews, layers."""


def probe_image(file: BinaryIO, *, size_bytes: int, limits: ImageLimits) -> MediaInfo:
    """Return size after EXIF orientation, format and mode.

    Reads the header and, for GIF, up to the second frame. WebP and AVIF are read whole,
    though not decoded: their libraries parse from memory.

    Args:
        file: Seekable.
        size_bytes: Size of the whole file.
        limits: What is refused.

    Raises:
        MediaError: The file is no picture we read, or breaks a limit.
    """
    with open_image(file, size_bytes=size_bytes, limits=limits) as image:
        width_px, height_px = oriented_size(image.size, read_orientation(image))
        return MediaInfo(
            width_px=width_px,
            height_px=height_px,
            format=image.format or "",
            mode=image.mode,
            is_animated=_has_more_frames(image),
        )


def _has_more_frames(image: ImageFile.ImageFile) -> bool:
    if image.format not in _FRAMED_FORMATS:
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except DECODER_ERRORS:
        return True  # there is a second frame, and it is the broken one
