"""Where a stream that begins inside a group of pictures can be decoded from.

Captures of broadcasts, and cuts without encoding, begin anywhere: their first pictures refer
to ones that are not in the file. A decoder drops these, or shows grey instead.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from av.video.frame import VideoFrame

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.video.timeline import Naming, Track

NumberedFrames = Iterator[tuple[int | None, VideoFrame]]
"""Frames from the start of a file, with the number of each one's packet."""

_MAX_FRAMES = 600
"""A stream whose key frames are all further away has none: it is renewed bit by bit."""


def from_first_whole(track: Track, decoded: Callable[[], NumberedFrames]) -> Track:
    """Return the track from the first picture on that can be decoded.

    Where the first picture is a key frame nothing is decoded to know it.

    Args:
        track: As its packets say.
        decoded: Decodes from the start; called where something has to be.

    Raises:
        MediaError: No picture can be decoded.
    """
    pictures = track.pictures
    is_key = int(pictures.packets[0]) == 0 and 0 in pictures.keys[:1].tolist()
    if is_key:
        return track
    packet = _first_whole_packet(decoded())
    if packet is None:
        raise MediaError(
            RejectCode.CORRUPT.word,
            "none of the video's first frames can be decoded: its data are damaged, or refer to "
            "what is not in the file",
        )
    if pictures.naming is Naming.COUNT:
        # In the order of the file: what is decoded before it is shown before it.
        first = int(np.searchsorted(pictures.packets, packet))
    else:
        first = int(np.flatnonzero(pictures.packets == packet)[0])
    return replace(track, pictures=replace(pictures, first=first))


def _first_whole_packet(frames: NumberedFrames) -> int | None:
    """Return the packet of the first frame that lacks nothing."""
    fallback = None
    for count, (packet, frame) in enumerate(frames):
        if frame.is_corrupt or packet is None:
            continue
        if frame.key_frame:
            return packet
        fallback = packet if fallback is None else fallback
        if count >= _MAX_FRAMES:
            break
    return fallback
