"""When each frame of a video is shown, learned from its packets without decoding one.

Headers lie: about counts, rates (a variable one has no rate) and lengths (a file cut short
keeps its header). Packets do not: the times of those that hold a picture (``shown_pictures``),
mended where one is wrong (``clock``) and cut to what an edit list shows, are the times of frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

import numpy as np

from latentcache.decode.video.clock import NO_TIME, MendedClock, Ticks, mend_clock
from latentcache.decode.video.edit_list import Edit, visible

TIE_S = 1e-6
"""Halfway between two frames the earlier one is meant, whatever a float's last bits say."""

_USUAL_GAPS = (0.55, 1.8)
"""Times between frames, in usual ones, that tell a rate: no pause, no frame that was left out."""


class Naming(Enum):
    """By what a decoded picture is known."""

    TIME = "time"  # that the file gives it
    PACKET = "packet"  # whose data it begins with: its time is wrong, or another's too
    COUNT = "count"  # of pictures before it, from the start: there are no times of showing


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """The pictures of a track in the order in which a decoder gives them.

    Attributes:
        naming: What tells one from another.
        names: Of each: its tick, or the number of its packet.
        keys: Pictures that decode without those before them, ascending.
        packets: The number in the file of the packet that each begins in.
        first: The first that can be decoded; those before it are lost.
    """

    naming: Naming
    names: Ticks
    keys: Ticks
    packets: Ticks
    first: int = 0

    def at_tick(self, tick: int) -> int | None:
        """Return the picture that has a tick for its name; None if none has."""
        at = int(np.searchsorted(self.names, tick))
        is_known = at < len(self.names) and int(self.names[at]) == tick
        return at if is_known else None

    def key_before(self, picture: int) -> int:
        """Return the last up to ``picture`` that decodes without those before it."""
        at = int(np.searchsorted(self.keys, picture, side="right")) - 1
        return int(self.keys[at]) if at >= 0 else 0


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The frames of one video in the order they are shown; frame 0 is shown at 0 seconds.

    Attributes:
        ticks: When each is shown, ascending, as the file counts.
        tick_s: Seconds per tick.
        pictures: Of the track.
        shown: Which of them each frame is.
        num_lost: Pictures that refer to what is not in the file.
        num_mended: Times that the file gave wrong, twice or not at all.
        num_joins: Places where the clock starts anew: captures that were joined.
    """

    ticks: Ticks
    tick_s: Fraction
    pictures: Pictures
    shown: Ticks
    num_lost: int = 0
    num_mended: int = 0
    num_joins: int = 0

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
        return self.time_s(self.num_frames - 1) + self.frame_s

    @property
    def frame_rate_fps(self) -> float:
        """Frames per second, pauses and gaps left out; 0 for a single frame."""
        if self.num_frames < 2:
            return 0.0
        gaps = np.sort(np.diff(self.ticks))
        shortest, longest = (share * gaps[(len(gaps) - 1) // 2] for share in _USUAL_GAPS)
        usual = gaps[(gaps >= shortest) & (gaps <= longest) & (gaps > 0)]
        return float(len(usual) / (int(usual.sum()) * self.tick_s)) if len(usual) else 0.0

    def longest_stand(self, times_s: Sequence[float]) -> int:
        """Return the largest number of times in a row at which one frame is shown."""
        shown = self.shown_at(times_s)
        changes = np.flatnonzero(np.diff(shown)) + 1
        return int(np.diff(np.concatenate([[0], changes, [len(shown)]])).max())

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


@dataclass(frozen=True, slots=True)
class PacketFacts:
    """What one packet says of the picture in it.

    Attributes:
        tick: When it is shown; None if the file does not say.
        is_key: It decodes without others.
        num_pictures: That begin in it.
        decoded: When it is to be decoded; None if the file does not say.
    """

    tick: int | None
    is_key: bool
    num_pictures: int = 1
    decoded: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockFacts:
    """What a file says of its times.

    Attributes:
        tick_s: Seconds per tick.
        frame_rate: What the file or the codec claims, per second.
        is_reordered: Times are those of decoding, and the codec shows frames in another order.
        is_broadcast: Its clock may leap.
    """

    tick_s: Fraction
    frame_rate: Fraction
    is_reordered: bool = False
    is_broadcast: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """The pictures of a track with their times, before an edit list is looked at."""

    pictures: Pictures
    ticks: Ticks
    tick_s: Fraction
    num_mended: int = 0
    num_joins: int = 0
    num_dropped: int = 0
    """Pictures that refer to what is not in the file, where another capture begins."""


def track_of(packets: Sequence[PacketFacts], clock: ClockFacts) -> Track:
    """Return the pictures that a track's packets hold, in the order of showing.

    Where the file gives no times, or times of decoding instead of showing, they can only be
    counted, and are evenly spaced at ``frame_rate`` if need be.

    Args:
        packets: In the order of the file.
        clock: What the file says of times.
    """
    numbers = np.array(_showing(packets), np.int64)
    shown = [packets[number] for number in numbers.tolist()]
    ticks = _told([packet.tick for packet in shown])
    is_key = np.array([packet.is_key for packet in shown], bool)
    is_told = ticks != NO_TIME
    if not is_told.any() or (clock.is_reordered and not is_told.all()):
        evenly = np.arange(len(numbers), dtype=np.int64)
        return _counted(evenly, numbers, is_key, 1 / clock.frame_rate)
    if clock.is_reordered and not is_key.all():
        # Sorted, times of decoding are evenly spaced like those of showing.
        return _counted(np.sort(ticks), numbers, is_key, clock.tick_s)
    mended = mend_clock(
        ticks,
        _told([packet.decoded for packet in shown]),
        is_key,
        tick_s=float(clock.tick_s),
        is_broadcast=clock.is_broadcast,
    )
    return _named(mended, ticks, numbers, is_key, clock.tick_s)


def timeline_of(track: Track, edits: Sequence[Edit] = ()) -> Timeline:
    """Return the frames that are shown of a track.

    Args:
        track: That it is of.
        edits: Which parts; all where there are none.
    """
    first = track.pictures.first
    ticks, shown = visible(track.ticks[first:], edits)
    return Timeline(
        ticks,
        track.tick_s,
        track.pictures,
        shown + first,
        num_lost=first + track.num_dropped,
        num_mended=track.num_mended,
        num_joins=track.num_joins,
    )


def _told(ticks: Sequence[int | None]) -> Ticks:
    return np.array([NO_TIME if tick is None else tick for tick in ticks], np.int64)


def _showing(packets: Sequence[PacketFacts]) -> list[int]:
    """Return the packets that show a picture: one that holds two leaves one to the next."""
    showing, waiting = [], 0
    for number, packet in enumerate(packets):
        waiting += packet.num_pictures
        if waiting:
            showing.append(number)
            waiting -= 1
    return showing


def _counted(ticks: Ticks, numbers: Ticks, is_key: Ticks, tick_s: Fraction) -> Track:
    pictures = Pictures(Naming.COUNT, numbers, np.flatnonzero(is_key[:1]), numbers)
    return Track(pictures, ticks, tick_s)


def _named(
    mended: MendedClock, told: Ticks, numbers: Ticks, is_key: Ticks, tick_s: Fraction
) -> Track:
    is_kept = _decodable(is_key, mended.joins)
    order = np.argsort(mended.ticks, kind="stable")
    order = order[is_kept[order]]
    naming = Naming.TIME if mended.is_as_told else Naming.PACKET
    names = (told if mended.is_as_told else numbers)[order]
    pictures = Pictures(naming, names, np.flatnonzero(is_key[order]), numbers[order])
    return Track(
        pictures,
        mended.ticks[order],
        tick_s,
        num_mended=mended.num_mended,
        num_joins=len(mended.joins),
        num_dropped=int((~is_kept).sum()),
    )


def _decodable(is_key: Ticks, joins: Sequence[int]) -> Ticks:
    """Return which packets do not belong to a group whose beginning another capture lacks."""
    is_kept = np.ones(len(is_key), bool)
    for join in joins:
        if not is_key[join:].any():
            continue
        is_kept[join : join + int(np.argmax(is_key[join:]))] = False
    return is_kept
