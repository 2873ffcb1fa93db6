"""One clip of any length, in groups of frames: what is held does not grow with the clip.

Dimension letters: T frames, H height, W width.
"""

from collections.abc import Generator, Iterator
from typing import BinaryIO, Self

import numpy as np

from latentcache.decode.clips.clip import ClipPixels, ClipRequest, clip_frames, write_frame
from latentcache.decode.clips.decoded_frames import FrameReader
from latentcache.decode.clips.video_pixels import FrameConverter
from latentcache.decode.pixel_options import VideoTransform
from latentcache.decode.video.video_file import open_video


class ClipReader(Iterator[ClipPixels]):
    """Iterates the frames of one clip in order, uint8 sRGB (T, H, W, 3), a few at a time.

    The groups joined are what ``decode_clip`` returns. Nothing is opened before the first
    group is asked for; it is closed at the end, after an error, and by ``close``.
    """

    def __init__(
        self,
        file: BinaryIO,
        request: ClipRequest,
        *,
        size_bytes: int,
        transform: VideoTransform,
        max_group_frames: int,
    ) -> None:
        """Prepare.

        Args:
            file: Seekable, local; must outlive the reader.
            request: The clip, of any number of frames.
            size_bytes: Of the whole file.
            transform: Colour and resize rules.
            max_group_frames: Frames per group; only the last may have fewer.

        Raises:
            ValueError: ``max_group_frames`` is below 1.
        """
        if max_group_frames < 1:
            raise ValueError(f"max_group_frames must be at least 1, got {max_group_frames}")
        self._groups = _iter_groups(file, size_bytes, request, transform, max_group_frames)

    def __next__(self) -> ClipPixels:
        """Return the next group.

        Raises:
            MediaError: The file is no video we read, or the clip goes past its end; or these
                frames cannot be had, after which there are no more.
        """
        return next(self._groups)

    def close(self) -> None:
        """Let go of the decoder; there are no more groups."""
        self._groups.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _iter_groups(
    file: BinaryIO,
    size_bytes: int,
    request: ClipRequest,
    transform: VideoTransform,
    max_group_frames: int,
) -> Generator[ClipPixels, None, None]:
    bucket = request.bucket
    with open_video(file, size_bytes=size_bytes) as video:
        timeline = video.read_timeline()
        frames = clip_frames(timeline, request)
        reader = FrameReader(video, timeline)
        converter = FrameConverter(transform, video.crop)
        shown, pixels = -1, np.empty((0, 0, 3), np.uint8)
        for start in range(0, len(frames), max_group_frames):
            wanted = frames[start : start + max_group_frames]
            group_THWC = np.empty((len(wanted), bucket.height_px, bucket.width_px, 3), np.uint8)
            for place, index in enumerate(wanted):
                if index == shown:  # a clip's rate may be higher than the file's
                    group_THWC[place] = pixels
                else:
                    frame = reader.frame(index)
                    target, geometry = group_THWC[place], request.geometry
                    write_frame(target, frame, geometry, converter, reader.pixel_aspect)
                shown, pixels = index, group_THWC[place]
            if shown in frames[start + max_group_frames :][:1]:
                pixels = pixels.copy()  # whoever takes the group may write in it
            yield group_THWC
