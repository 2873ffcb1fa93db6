"""Opening a picture under our rules: few formats, no warnings, limits before pixels."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,  # noqa: F401  importing a plugin registers its format
    GifImagePlugin,  # noqa: F401
    IcoImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    PsdImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.pixel_options import ImageLimits
from latentcache.decode.reject_reasons import DECODER_ERRORS, came_from_pillow, media_error
from latentcache.decode.sniff import HEAD_BYTES, declared_bytes, picture_name

FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "AVIF",
    "GIF",
    "TIFF",
    "BMP",
    "JPEG2000",
    "PPM",
    "ICO",
    "PSD",
)
"""All that is tried; JPEG includes MPO. Pillow knows forty more: some start programs (EPS),
some have no magic number and take noise for a picture (TGA)."""


@contextmanager
def open_image(
    file: BinaryIO, *, size_bytes: int, limits: ImageLimits
) -> Iterator[ImageFile.ImageFile]:
    """Yield the opened picture; what the block does to it may fail as bad media does.

    Args:
        file: Seekable; read from its start.
        size_bytes: Size of the whole file.
        limits: What is refused.

    Raises:
        MediaError: The file is no picture we read, breaks a limit, or its pixels are damaged.
    """
    head, name = b"", ""
    with pillow_rules(limits):
        try:
            file.seek(0)
            head = file.read(HEAD_BYTES)
            if not head:
                raise MediaError(RejectCode.EMPTY.word, "the file is empty (0 bytes)")
            with _quiet_libtiff(head), Image.open(file, formats=FORMATS) as image:
                name = image.format or ""
                _check_pixels(image.size, limits)
                if name == "JPEG2000" and not _is_whole_jpeg2000(file, head, size_bytes):
                    raise media_error(EOFError(), format=name)
                yield image
        except DECODER_ERRORS as error:
            if not isinstance(error, OSError) and not came_from_pillow(error):
                raise
            raise media_error(error, head=head, size_bytes=size_bytes, format=name) from error


def _check_pixels(size_px: tuple[int, int], limits: ImageLimits) -> None:
    if size_px[0] * size_px[1] > limits.max_pixels:
        raise MediaError(
            RejectCode.BOMB.word,
            f"the picture is {size_px[0]}x{size_px[1]} px, more than the limit of "
            f"{limits.max_pixels} pixels",
        )


def _is_whole_jpeg2000(file: BinaryIO, head: bytes, size_bytes: int) -> bool:
    """Return whether the code stream has its end: OpenJPEG fills in what is missing."""
    position = file.tell()
    file.seek(max(0, size_bytes - 2))
    ends_with_marker = file.read(2) == b"\xff\xd9"
    file.seek(position)
    return ends_with_marker or size_bytes >= (declared_bytes(head) or size_bytes + 1)


@contextmanager
def pillow_rules(limits: ImageLimits) -> Iterator[None]:
    """Set Pillow's process-wide switches for one picture, and put them back.

    Not safe for two threads at once; decoding is done by processes of one thread.
    """
    kept = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    kept_threads = AvifImagePlugin.DEFAULT_MAX_THREADS
    # Pillow raises at twice this, also for what hides inside (frames, icons, tiles).
    Image.MAX_IMAGE_PIXELS = (limits.max_pixels + 1) // 2
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    # There is one decode worker per core already.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = kept
        AvifImagePlugin.DEFAULT_MAX_THREADS = kept_threads


@contextmanager
def _quiet_libtiff(head: bytes) -> Iterator[None]:
    """Keep libtiff's warnings off the terminal: it writes them to descriptor 2 itself."""
    if picture_name(head) != "TIFF":
        yield
        return
    sys.stderr.flush()
    kept_fd = os.dup(2)
    try:
        nowhere_fd = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere_fd, 2)
        os.close(nowhere_fd)
        yield
    finally:
        os.dup2(kept_fd, 2)
        os.close(kept_fd)
