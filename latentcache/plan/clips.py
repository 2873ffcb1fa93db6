"""Clips: which stretches of a video become samples.

A clip is a start, a number of frames and a rate; the frame shown at each of its times is
taken (``decode.clip``). Frame counts are chosen from those allowed, downwards, and what a
policy leaves out of a video is counted, never forgotten.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from latentcache.core.errors import ConfigError, MediaError
from latentcache.core.frames import FrameRule

POLICIES = ("first", "uniform:N", "sliding:S", "whole")
WHOLE = "whole"
STILL_FRAMES = 3
"""A clip that shows one picture this often in a row stands still: twice is what doubling a rate
does, and one frame that is missing."""
_TIE_S = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLength:
    """What a video holds, as far as clips are concerned.

    Attributes:
        last_s: When its last frame is shown; its first is at 0.
        frame_s: The usual time between two frames; 0 for a single one.
        frame_rate_fps: Frames per second on average; 0 for a single one.
    """

    last_s: float
    frame_s: float
    frame_rate_fps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One stretch of a video.

    Attributes:
        start_s: Of its first frame, from the video's first.
        num_frames: Frames.
        frame_rate_fps: Per second.
    """

    start_s: float
    num_frames: int
    frame_rate_fps: float

    @property
    def end_s(self) -> float:
        """When its last frame ends."""
        return self.start_s + self.num_frames / self.frame_rate_fps

    def times_s(self) -> list[float]:
        """Return when its frames are shown in the video."""
        return [self.start_s + k / self.frame_rate_fps for k in range(self.num_frames)]

    @property
    def window(self) -> str:
        """What tells it from other clips of its video, in its key."""
        return f"{self.start_s:.6f}+{self.num_frames}@{self.frame_rate_fps:.6f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRules:
    """How videos are cut.

    Attributes:
        frames: Frame counts that a clip may have, or their rule; the largest that fits is
            taken. A rule has no largest count, so only ``whole`` takes one.
        frame_rate_fps: Of all clips; 0 keeps each video's own.
        policy: ``first``; ``uniform:N``, N clips spread evenly, fewer where they would
            overlap; ``sliding:S``, one every S seconds; ``whole``, the video as one clip.
    """

    frames: tuple[int, ...] | FrameRule
    frame_rate_fps: float = 0.0
    policy: str = "first"

    def __post_init__(self) -> None:
        if isinstance(self.frames, FrameRule):
            if self.policy != WHOLE:
                raise ConfigError(
                    f"frames must be counts where clips are not whole, got a rule with clips "
                    f"{self.policy!r} (plan options); give for instance 17, or clips whole"
                )
        elif not self.frames or min(self.frames) < 1:
            raise ConfigError(
                f"frames must be counts from 1 up, got {list(self.frames)} (plan options); "
                f"give for instance 17"
            )
        if not 0 <= self.frame_rate_fps <= 1000:
            raise ConfigError(
                f"fps must be from 0 to 1000, got {self.frame_rate_fps} (plan options); "
                f"0 keeps each video's own rate"
            )
        kind, _, number = self.policy.partition(":")
        is_number = kind in ("uniform", "sliding") and _positive(number, whole=kind == "uniform")
        if not is_number and self.policy not in ("first", WHOLE):
            raise ConfigError(
                f"clips must be one of {', '.join(POLICIES)}, got {self.policy!r} (plan options); "
                f"use for instance uniform:2 or sliding:1.5"
            )

    def rate_of(self, video: VideoLength) -> float:
        """Return the rate of a video's clips; a single frame counts as one a second."""
        return self.frame_rate_fps or video.frame_rate_fps or 1.0


def clips_of(video: VideoLength, rules: ClipRules) -> list[Clip]:
    """Return the clips of one video, in the order of time, at least one.

    Raises:
        MediaError: The video is shorter than the shortest clip.
    """
    rate = rules.rate_of(video)
    available = num_frames_from(video, 0.0, rate)
    length = fitting_length(rules.frames, available)
    kind, _, number = rules.policy.partition(":")
    if kind == "uniform":
        starts = [first / rate for first in _uniform(available, length, int(float(number)))]
    elif kind == "sliding":
        starts = _sliding((available - length) / rate, float(number))
    else:
        starts = [0.0]
    return [Clip(start_s=start, num_frames=length, frame_rate_fps=rate) for start in starts]


def clip_within(video: VideoLength, rules: ClipRules, start_s: float, end_s: float | None) -> Clip:
    """Return the clip of a window that a manifest gives.

    Args:
        video: That it is of.
        rules: ``frames`` and the rate count; the policy does not.
        start_s: Of the window.
        end_s: Of the window; None is the video's end.

    Raises:
        MediaError: The window lies outside the video or is shorter than the shortest clip.
    """
    rate = rules.rate_of(video)
    stop_s = video.last_s + video.frame_s if end_s is None else end_s
    if not 0 <= start_s < stop_s or start_s > video.last_s:
        raise MediaError(
            "bad_record",
            f"the window from {start_s:g} to {stop_s:g} s is not within the video's "
            f"{video.last_s + video.frame_s:.3f} s",
        )
    # Times of a table are rounded, and half a frame is what a frame counts for everywhere else.
    within = math.floor((stop_s - start_s) * rate + 0.5)
    available = min(max(1, within), num_frames_from(video, start_s, rate))
    length = fitting_length(rules.frames, available)
    return Clip(start_s=start_s, num_frames=length, frame_rate_fps=rate)


def num_frames_from(video: VideoLength, start_s: float, rate: float) -> int:
    """Return how many frames at ``rate`` a video has from a time on.

    The last frame counts for half a usual frame beyond its time, as when it is decoded.
    """
    return 1 + math.floor((video.last_s + video.frame_s / 2 - start_s) * rate + _TIE_S)


def fitting_length(frames: Sequence[int] | FrameRule, available: int) -> int:
    """Return the largest count that fits.

    Raises:
        MediaError: None does.
    """
    if isinstance(frames, FrameRule):
        longest, shortest = frames.floor(available), frames.first
    else:
        shortest = min(frames)
        longest = max((count for count in frames if count <= available), default=None)
    if longest is None:
        raise MediaError(
            "too_short",
            f"the video has {available} frames at the clips' rate, the shortest clip {shortest}",
        )
    return longest


def _uniform(available: int, length: int, wanted: int) -> list[int]:
    """Return first frames, evenly spread from the start to the end, no frame in two clips."""
    count = min(wanted, available // length)
    if count == 1:
        return [0]
    return [index * (available - length) // (count - 1) for index in range(count)]


def _sliding(last_s: float, stride_s: float) -> list[float]:
    return [index * stride_s for index in range(1 + math.floor(last_s / stride_s + _TIE_S))]


def _positive(text: str, *, whole: bool) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return 0 < value < math.inf and (not whole or value.is_integer())
