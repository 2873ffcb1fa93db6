"""What a scan says of videos: counts for the plan's record."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from latentcache.decode import Timeline
from latentcache.plan import Clip


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """What is to be said of one video with clips.

    Attributes:
        num_clips: That are taken.
        num_frames: That it shows.
        num_left_out: Frames of it that lie in none of its clips.
        findings: Counts by their kind (``core.findings``).
    """

    num_clips: int
    num_frames: int
    num_left_out: int
    findings: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, line: Timeline, clips: Sequence[Clip], *, num_still: int) -> "VideoFacts":
        """Return what a video's timeline and clips say.

        Args:
            line: Of the video.
            clips: That are taken.
            num_still: Of the clips, those left out among them.
        """
        shown_s = [line.time_s(index) for index in range(line.num_frames)]
        is_taken = np.zeros(line.num_frames, bool)
        for clip in clips:
            is_taken[bisect_left(shown_s, clip.start_s) : bisect_left(shown_s, clip.end_s)] = True
        return cls(
            num_clips=len(clips),
            num_frames=line.num_frames,
            num_left_out=int((~is_taken).sum()),
            findings={
                "clip_stands_still": num_still,
                "picture_lost": line.num_lost,
                "time_mended": line.num_mended,
                "clock_joined": line.num_joins,
            },
        )


@dataclass(slots=True)
class VideoTotals:
    """Counts of one scan; complete once it has ended.

    Attributes:
        num_videos: With clips.
        num_clips: Of them.
        num_frames: Of the videos.
        num_left_out: Frames in no clip.
    """

    num_videos: int = 0
    num_clips: int = 0
    num_frames: int = 0
    num_left_out: int = 0

    def add(self, video: VideoFacts) -> None:
        """Count a video."""
        self.num_videos += 1
        self.num_clips += video.num_clips
        self.num_frames += video.num_frames
        self.num_left_out += video.num_left_out
