"""When each frame of a video is shown, learned from its packets without decoding one.

Headers lie: about counts (edit lists drop frames), rates (a variable one has no rate) and
lengths (a file cut short keeps its header). Packets do not: the times of those that are
shown, sorted, are the times of the frames that a decoder gives, one for one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

Ticks = np.ndarray[Any, np.dtype[np.int64]]

TIE_S = 1e-6
"""Halfway between two frames the earlier one is meant, whatever a float's last bits say."""


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The frames of one video in the order they are shown; frame 0 is shown at 0 seconds.

    Attributes:
        ticks: When each is shown, ascending, as the file counts.
        tick_s: Seconds per tick.
        keys: Frames that decode without those before them, ascending.
        has_times: Whether the decoder will name these ticks; else frames can only be counted.
    """

    ticks: Ticks
    tick_s: Fraction
    keys: Ticks
    has_times: bool

    @property
    def num_frames(self) -> int:
        """Frames that are shown."""
        return len(self.ticks)

    @property
    def frame_s(self) -> float:
        """The usual time between two frames: their median; 0 for a single frame."""
        if self.num_frames < 2:
            return 0.0
        return float(np.median(np.diff(self.ticks)) * self.tick_s)

    @property
    def duration_s(self) -> float:
        """From the first frame's appearance to the last one's end."""
        span: float = float((int(self.ticks[-1]) - int(self.ticks[0])) * self.tick_s)
        return span + self.frame_s

    @property
    def frame_rate_fps(self) -> float:
        """Frames per second on average; 0 for a single frame."""
        if self.num_frames < 2:
            return 0.0
        ticks = int(self.ticks[-1]) - int(self.ticks[0])
        return float((self.num_frames - 1) / (ticks * self.tick_s))

    def time_s(self, index: int) -> float:
        """Return when a frame is shown."""
        return float((int(self.ticks[index]) - int(self.ticks[0])) * self.tick_s)

    def shown_at(self, times_s: Sequence[float]) -> Ticks:
        """Return the frame that is shown at each time, or is about to be.

        A frame counts as shown from half a usual frame before its time: of an even rate
        that is the nearest frame, whatever the clock was rounded to; and where the rate
        varies, a picture that stands for seconds stays until the next one comes.
        """
        wanted = np.asarray(times_s, np.float64) + self.frame_s / 2 - TIE_S
        shown = (self.ticks - self.ticks[0]) * float(self.tick_s)
        found: Ticks = np.searchsorted(shown, wanted, side="right").astype(np.int64) - 1
        return np.maximum(found, 0)

    def key_before(self, index: int) -> int:
        """Return the last frame up to ``index`` that decodes without those before it."""
        at = int(np.searchsorted(self.keys, index, side="right")) - 1
        return int(self.keys[at]) if at >= 0 else 0


@dataclass(frozen=True, slots=True)
class PacketFacts:
    """What one packet says of the frame in it.

    Attributes:
        tick: When it is shown; None if the file does not say.
        is_key: It decodes without others.
    """

    tick: int | None
    is_key: bool


def timeline_of(
    packets: Iterable[PacketFacts], *, tick_s: Fraction, frame_rate: Fraction, is_reordered: bool
) -> Timeline:
    """Return the frames that a video's shown packets hold.

    Where the file gives no times, two equal ones, or times of decoding instead of showing,
    frames are evenly spaced at ``frame_rate`` and can only be counted.

    Args:
        packets: In the order of the file.
        tick_s: Seconds per tick.
        frame_rate: What the file or the codec claims, per second.
        is_reordered: Times are those of decoding, and the codec shows frames in another order.
    """
    known = list(packets)
    ticks = np.array([-1 if one.tick is None else one.tick for one in known], np.int64)
    is_key = np.array([one.is_key for one in known], bool)
    order = np.argsort(ticks, kind="stable")
    is_told = all(one.tick is not None for one in known) and bool(np.all(np.diff(ticks[order]) > 0))
    is_intra = bool(is_key.all())
    if is_told and (is_intra or not is_reordered):
        return Timeline(ticks[order], tick_s, np.flatnonzero(is_key[order]), has_times=True)
    if is_told:
        # Sorted, times of decoding are evenly spaced like those of showing.
        return Timeline(ticks[order], tick_s, np.zeros(1, np.int64), has_times=False)
    evenly = np.arange(len(known), dtype=np.int64)
    return Timeline(evenly, 1 / frame_rate, np.zeros(1, np.int64), has_times=False)
