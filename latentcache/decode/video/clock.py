"""A file's times mended: one wrong time costs itself alone, joined captures follow each other.

Packets come in the order of decoding, their times are those of showing. No decoder holds
back more than 16 pictures, so further away than that two packets' order is the order of showing:

- A time that lies far before or far behind all its neighbours is wrong. Its picture goes into
  the nearest gap that its neighbours leave; so does one without a time.
- A clock that runs backwards for good, or in broadcast containers leaps by more than 10 s (as
  FFmpeg's ``dts_delta_threshold``), is that of another capture joined on, which goes on one
  picture after the last. A wrap of the counter is none: FFmpeg has counted on by then; and where
  it took a clock that ran backwards for a wrap, the leap of a day tells.
- Pictures of one time share the time up to the next.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Ticks = np.ndarray[Any, np.dtype[np.int64]]
_Flags = np.ndarray[Any, np.dtype[np.bool_]]

NO_TIME = np.iinfo(np.int64).min
"""Stands for a time that the file does not give."""

_REORDERED = 16
"""Pictures that a decoder may hold back; source: ITU-R H.264, A.3.1 (``MaxDpbFrames``)."""
_FAR_PICTURES = 32
_LEAP_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class MendedClock:
    """Times of showing, one for each packet, in the packets' order.

    Attributes:
        ticks: As mended; pictures of one time are told apart where the clock is fine enough.
        num_mended: Times that were missing, wrong, or the same as another's.
        joins: Packets with which another capture begins.
    """

    ticks: Ticks
    num_mended: int
    joins: tuple[int, ...]

    @property
    def is_as_told(self) -> bool:
        """Whether the file's own times name every picture."""
        return not self.num_mended and not self.joins


def mend_clock(
    ticks: Ticks, decoded: Ticks, is_key: _Flags, *, tick_s: float, is_broadcast: bool
) -> MendedClock:
    """Return when each packet's picture is shown.

    Args:
        ticks: As the file tells; ``NO_TIME`` where it does not. At least one is told.
        decoded: When each packet is to be decoded; likewise.
        is_key: Which packets decode without others.
        tick_s: Seconds per tick.
        is_broadcast: Of a container in which clocks may leap.
    """
    is_told = ticks != NO_TIME
    step = _usual_step(ticks[is_told])
    wrong = _wrong_times(ticks, is_key, is_told, _FAR_PICTURES * step)
    is_good = is_told.copy()
    is_good[wrong] = False
    leap = _LEAP_S / tick_s if is_broadcast else np.inf
    good = np.flatnonzero(is_good)
    falls = _falls_for_good(decoded[good])
    begins = _joins(ticks[good], is_key[good], falls, step=step, leap=leap)
    mended = _joined(ticks, good, begins, step)
    _fill_in(mended, is_good, step)
    num_ties = len(mended) - len(np.unique(mended))
    if num_ties:
        mended = _spread(mended, step)
    num_mended = int((~is_good).sum()) + num_ties
    return MendedClock(mended, num_mended, tuple(good[begins].tolist()))


def _usual_step(told: Ticks) -> int:
    gaps = np.diff(np.unique(told))
    return max(1, int(np.median(gaps))) if len(gaps) else 1


def _wrong_times(ticks: Ticks, is_key: _Flags, is_told: _Flags, far: int) -> list[int]:
    """Return packets whose time is far from those of all that are decoded about then."""
    places = np.flatnonzero(is_told)
    known, keys = ticks[places], is_key[places]
    falls = np.flatnonzero(np.diff(known) < 0) + 1
    if len(falls) * 3 * _REORDERED <= len(known):  # no pictures change places
        return [int(places[at]) for at in _out_of_order(known, falls.tolist())]
    steps = np.abs(np.diff(known)) > far
    suspects = np.flatnonzero(np.append(steps, False) | np.append(False, steps))
    return [int(places[at]) for at in suspects.tolist() if _is_wrong(known, keys, at, far)]


def _out_of_order(known: Ticks, falls: list[int]) -> list[int]:
    """Return which times to leave out so that all others ascend; a joined capture stays."""
    wrong = []
    for at in falls:
        if at + 1 == len(known) or known[at + 1] > known[at - 1]:
            wrong.append(at)
        elif at == 1 or known[at - 2] < known[at]:
            wrong.append(at - 1)
    return wrong


def _is_wrong(known: Ticks, keys: _Flags, at: int, far: int) -> bool:
    tick, until = known[at], at + 1 + _REORDERED
    before, after = known[max(0, at - _REORDERED) : at], known[at + 1 : until]
    if len(before) + len(after) < 2:
        return False
    is_first = not len(before)
    # A first picture may stand long before the others, and a last one come late, with those that
    # refer to it behind it in the file.
    is_within = is_first or len(after) == _REORDERED or bool(keys[at + 1 : until].any())
    if not is_first and tick < before.min() - far:
        return not len(after) or bool(tick < after.min() - far)
    if is_within and len(after) and tick > after.max() + far:
        return is_first or bool(tick > before.max() + far)
    return False


def _joined(ticks: Ticks, good: Ticks, begins: list[int], step: int) -> Ticks:
    """Return the times with every joined capture moved behind the one before."""
    known, mended = ticks[good], ticks.copy()
    end = None
    for start, stop in pairwise([0, *begins, len(known)]):
        run = known[start:stop]
        if end is not None:
            run = run - run.min() + end + step
        mended[good[start:stop]] = run
        end = run.max()
    return mended


def _falls_for_good(decoded: Ticks) -> _Flags:
    """Return where the clock of decoding falls back, and stays there for the next packet."""
    falls = np.zeros(len(decoded), bool)
    if len(decoded) > 1 and bool(np.all(decoded != NO_TIME)):
        following = np.append(decoded[2:], decoded[-1])
        falls[1:] = (decoded[1:] < decoded[:-1]) & (following < decoded[:-1])
    return falls


def _joins(known: Ticks, is_key: _Flags, falls: _Flags, *, step: int, leap: float) -> list[int]:
    """Return where in the order of decoding another capture begins."""
    latest = np.maximum.accumulate(known)[:-1]
    is_ahead = known[1:] > latest + leap
    allowed = np.where(is_key[1:], 0, _FAR_PICTURES * step)
    found: list[int] = []
    looked_at, so_far = 0, known[:1].max(initial=NO_TIME)
    suspects = (known[1:] < latest - allowed) | is_ahead | falls[1:]
    for at in (np.flatnonzero(suspects) + 1).tolist():
        so_far = max(so_far, known[looked_at:at].max())
        looked_at = at
        following = known[at : at + (2 if is_key[at] else _REORDERED)]
        far = 0 if is_key[at] else _FAR_PICTURES * step
        # Lasting, or it is one wrong time, or a late picture with those that refer to it.
        is_back = following.max() < so_far - far and (is_key[at] or len(following) == _REORDERED)
        if is_ahead[at - 1] or is_back or falls[at]:
            found.append(at)
            so_far = NO_TIME
    return found


def _fill_in(mended: Ticks, is_good: _Flags, step: int) -> None:
    """Give each picture without a time the middle of the nearest gap that one would fill."""
    is_placed = is_good.copy()
    for at in np.flatnonzero(~is_good).tolist():
        mended[at] = _place_for(mended, is_placed, at, step)
        is_placed[at] = True


def _place_for(mended: Ticks, is_placed: _Flags, at: int, step: int) -> int:
    lo, hi = max(0, at - 2 * _REORDERED), at + 2 * _REORDERED + 1
    about = np.sort(mended[lo:hi][is_placed[lo:hi]])
    before = np.flatnonzero(is_placed[:at])
    if not len(about):
        return int(mended[before[-1]]) + step if len(before) else 0
    if not len(before):
        return int(about[0]) - step
    gaps = np.flatnonzero(np.diff(about) > 1.5 * step)
    middles = (about[gaps] + about[gaps + 1]) // 2
    expected = int(mended[before[-1]]) + step
    near = np.abs(middles - expected)
    if len(near) and near.min() <= _REORDERED * step:
        return int(middles[int(np.argmin(near))])
    is_last = at > int(np.flatnonzero(is_placed)[-1])
    return int(about[-1]) + step if is_last else int(mended[before[-1]])


def _spread(ticks: Ticks, step: int) -> Ticks:
    """Return times with those of one time spread up to the next, in the order of decoding."""
    order = np.argsort(ticks, kind="stable")
    shown = ticks[order]
    begins = np.flatnonzero(np.append(True, np.diff(shown) > 0))
    sizes = np.diff(np.append(begins, len(shown)))
    following = np.append(shown[begins[1:]], shown[-1] + step)
    within = np.arange(len(shown)) - np.repeat(begins, sizes)
    room = np.repeat(following - shown[begins], sizes)
    spread = np.empty_like(ticks)
    spread[order] = shown + within * room // np.repeat(sizes, sizes)
    return spread
