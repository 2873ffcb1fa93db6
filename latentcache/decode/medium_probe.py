"""What a medium is, whatever its name says: a picture or a video."""

from collections.abc import Callable
from typing import BinaryIO

from latentcache.core.errors import MediaError
from latentcache.core.media import MediaInfo
from latentcache.core.rejects import RejectCode
from latentcache.decode.clips.video_probe import VideoInfo, probe_video
from latentcache.decode.picture.picture_probe import probe_image
from latentcache.decode.pixel_options import ImageLimits

OF_ANOTHER_KIND = frozenset({RejectCode.NOT_AN_IMAGE.word, RejectCode.NOT_MEDIA.word})
"""What a probe says of a medium that another probe may know."""


def probe_medium(
    file: BinaryIO, *, size_bytes: int, limits: ImageLimits, is_named_as_video: bool = False
) -> MediaInfo | VideoInfo:
    """Return what a picture's header or a video's packets say.

    Args:
        file: Seekable.
        size_bytes: Size of the whole file.
        limits: What is refused.
        is_named_as_video: What is tried first.

    Raises:
        MediaError: It is neither, is broken, or breaks a limit.
    """
    probes: list[Callable[..., MediaInfo | VideoInfo]] = [probe_image, probe_video]
    if is_named_as_video:
        probes.reverse()
    try:
        return probes[0](file, size_bytes=size_bytes, limits=limits)
    except MediaError as error:
        if error.code not in OF_ANOTHER_KIND:
            raise
        return probes[1](file, size_bytes=size_bytes, limits=limits)
