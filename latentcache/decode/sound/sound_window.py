"""The sound of exactly one window of a file, mixed and resampled by a rule.

What was measured, and is easily guessed wrong:

- Time zero is time 0 of the file's times, never "the first sample there is": sound may begin later
  or before. Samples are counted from the first one of a decode from the file's beginning; a frame's
  own time is whole milliseconds in Matroska.
- A decoder is never carried on from one window to the next, nor sought: the bits of AAC, AC-3, MP2
  and Opus depend on where decoding began. The file is opened for each window and decoded from its
  start.
- Sound is decoded to floats: lossy sound passes 1.0, and 16 bits would clip it.
- A window is resampled with a margin, cut off afterwards: alone it is wrong at its borders.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.sound.sound_rule import SoundRule, mixing_matrix
from latentcache.decode.video.video_file import FORMATS, open_video

Samples = NDArray[np.float32]

_OPTIONS = {
    "format_whitelist": f"{FORMATS},wav,flac,mp3,aac",
    "protocol_whitelist": "pipe",
}
_MARGIN = 512
"""Input samples at least on either side of a window while it is resampled: 300 are enough."""
_JITTER_S = 0.03
"""A frame's time may be so far off: whole milliseconds, and 448 samples at block switches."""
_STAYS = 3
"""Frames for which a gap must stay to be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSound:
    """What a window sounds like.

    Attributes:
        samples: float32 [channels, N], N by ``SoundRule.num_samples``; may pass 1.0.
        lead_s: Silence at the beginning, because the sound begins later.
        tail_s: Silence at the end, because the sound ends before; both are the window's length
            where it has no sound.
        rate_hz: That the file has.
        channels: Names of what the file has.
    """

    samples: Samples
    lead_s: float
    tail_s: float
    rate_hz: int
    channels: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the file has sound for all of the window."""
        return not self.lead_s and not self.tail_s


def clip_sound(
    file: BinaryIO, start_s: float, duration_s: float, rule: SoundRule, *, size_bytes: int
) -> WindowSound | None:
    """Return the sound of a clip as the plan has it; None of a video without a track of sound.

    Args:
        file: Seekable.
        start_s: From the first frame that the video shows, as a plan's ``start_s``; where sound and
            picture do not begin together, that is another time of the sound.
        duration_s: Of the clip: its frames over its frame rate.
        rule: What is made of it.
        size_bytes: Of the whole file.

    Raises:
        MediaError: As ``decode_sound`` does, or the video cannot be read.
    """
    file.seek(0)
    with open_video(file, size_bytes=size_bytes) as video:
        timeline = video.read_timeline()
        shown_s = float(int(timeline.ticks[0]) * timeline.tick_s)
    return decode_sound(file, shown_s + start_s, duration_s, rule)


def decode_sound(
    file: BinaryIO, start_s: float, duration_s: float, rule: SoundRule
) -> WindowSound | None:
    """Return the sound of a window; None of a file without a track of sound.

    Args:
        file: Seekable; read from its beginning.
        start_s: Of the window, in the file's times, which pictures share.
        duration_s: Of the window.
        rule: What is made of it.

    Raises:
        MediaError: The sound cannot be decoded, leaps in time, or is of an unknown layout.
    """
    file.seek(0)
    try:
        with av.open(file, "r", options=_OPTIONS, metadata_errors="replace") as container:
            stream = _track_of(container)
            if stream is None:
                return None
            return _window_of(container, stream, (start_s, duration_s), rule)
    except FFmpegError as error:
        raise MediaError(
            RejectCode.CORRUPT.word,
            f"sound cannot be decoded: {(error.strerror or 'bad data').lower()}",
        ) from error


def _track_of(container: InputContainer) -> AudioStream | None:
    tracks = list(container.streams.audio)
    defaults = [one for one in tracks if one.disposition & 1]
    chosen = (defaults or tracks)[:1]
    return chosen[0] if chosen else None


@dataclass(slots=True)
class _Counted:
    """A frame's samples with the number of the first of them, counted from the file's first."""

    first: int
    values: Samples


def _window_of(
    container: InputContainer, stream: AudioStream, window: tuple[float, float], rule: SoundRule
) -> WindowSound:
    start_s, duration_s = window
    num_out = rule.num_samples(duration_s)
    parts: list[_Counted] = []
    layout: tuple[str, ...] = ()
    first_s, rate = 0.0, 0
    begin = end = margin = 0
    for frame, number in _numbered(container, stream):
        if not rate:
            rate, first_s = frame.sample_rate, _time_of(frame)
            layout = _names_of(frame)
            step = rate // math.gcd(rate, rule.rate_hz)
            margin = -(-_MARGIN // step) * step  # a whole number of outgoing samples
            begin = round((start_s - first_s) * rate)
            end = begin + math.ceil(duration_s * rate)
        if number >= end + margin:
            break
        if number + frame.samples > begin - margin:
            parts.append(_Counted(number, _packed(frame)))
    if not rate:
        return _silence(stream, rule, num_out, duration_s)
    matrix = mixing_matrix(layout, rule.channels)
    if matrix is None:
        raise MediaError(
            RejectCode.UNSUPPORTED.word,
            f"sound of the channels {', '.join(layout)} is not mixed by any rule",
        )
    given = np.zeros((end - begin + 2 * margin, len(layout)), np.float32)
    heard_from, heard_to = end, begin
    for part in parts:
        at = part.first - (begin - margin)
        low, high = max(0, at), min(len(given), at + len(part.values))
        if low < high:
            given[low:high] = part.values[low - at : high - at]
            heard_from = min(heard_from, max(begin, part.first))
            heard_to = max(heard_to, min(end, part.first + len(part.values)))
    mixed = given @ matrix.T
    samples = _resampled(mixed, rate, rule)[margin * rule.rate_hz // rate :][:num_out]
    if len(samples) < num_out:
        samples = np.pad(samples, ((0, num_out - len(samples)), (0, 0)))
    is_heard = heard_from < heard_to
    return WindowSound(
        samples=np.ascontiguousarray(samples.T),
        lead_s=(heard_from - begin) / rate if is_heard else duration_s,
        tail_s=(end - heard_to) / rate if is_heard else duration_s,
        rate_hz=rate,
        channels=layout,
    )


def _numbered(container: InputContainer, stream: AudioStream) -> Iterator[tuple[AudioFrame, int]]:
    """Yield frames with the number of their first sample; real gaps in time are counted over.

    Raises:
        MediaError: Times fall back, as in files joined byte by byte, or rate or layout change.
    """
    waiting: list[AudioFrame] = []
    count, origin_s, shape = 0, None, None
    frames = container.decode(stream)
    is_done = False
    while waiting or not is_done:
        while len(waiting) < _STAYS and not is_done:
            frame = next(frames, None)
            if frame is None:
                is_done = True
            elif frame.samples:
                waiting.append(frame)
        if not waiting:
            return
        frame = waiting[0]
        if origin_s is None:
            origin_s = _time_of(frame)
        if shape not in (None, (frame.sample_rate, frame.layout.name)):
            raise MediaError(
                RejectCode.UNSUPPORTED.word, "sound changes its rate or channels midway"
            )
        shape = (frame.sample_rate, frame.layout.name)
        gap_s = _gap(waiting, origin_s, count)
        if gap_s < 0:
            raise MediaError(
                RejectCode.UNSUPPORTED.word,
                "times of the sound fall back midway, as of files that were joined; split it",
            )
        count += round(gap_s * frame.sample_rate)
        yield waiting.pop(0), count
        count += frame.samples


def _gap(frames: list[AudioFrame], origin_s: float, count: int) -> float:
    """Return by how much all of the next frames are late; 0 where they are as counted."""
    late = []
    for frame in frames:
        told = _time_of(frame, origin_s + count / frame.sample_rate)
        late.append(told - origin_s - count / frame.sample_rate)
        count += frame.samples
    least = min(late, key=abs)
    size_s = frames[0].samples / frames[0].sample_rate
    is_one = len({one > 0 for one in late}) == 1 and abs(least) > size_s + _JITTER_S
    return least if is_one else 0.0


def _names_of(frame: AudioFrame) -> tuple[str, ...]:
    """Return the names of a frame's channels; of one or two without names the usual ones."""
    names = tuple(one.name for one in frame.layout.channels)
    if set(names) == {"NONE"}:
        return {1: ("FC",), 2: ("FL", "FR")}.get(len(names), names)
    return names


def _time_of(frame: AudioFrame, otherwise: float = 0.0) -> float:
    if frame.pts is None or frame.time_base is None:
        return otherwise
    return float(frame.pts * frame.time_base)


def _packed(frame: AudioFrame) -> Samples:
    """Return a frame's samples [N, channels] as floats.

    Packed before they become an array: of some frames with many channels ``to_ndarray`` alone ended
    the process.
    """
    same = AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
    found = [one.to_ndarray().reshape(-1) for one in [*same.resample(frame), *same.resample(None)]]
    width = len(frame.layout.channels)
    packed = np.concatenate([np.zeros(0, np.float32), *found]).astype(np.float32, copy=False)
    return packed.reshape(-1, width)


def _resampled(samples: Samples, rate: int, rule: SoundRule) -> Samples:
    """Return samples [N, channels] at the rule's rate, in one go and flushed."""
    if rate == rule.rate_hz:
        return samples
    layout = "mono" if rule.channels == 1 else "stereo"
    packed = np.ascontiguousarray(samples).reshape(1, -1)
    frame = AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate = rate
    resampler = AudioResampler(format="flt", layout=layout, rate=rule.rate_hz)
    out = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([one.to_ndarray().reshape(-1, rule.channels) for one in out])


def _silence(stream: AudioStream, rule: SoundRule, num_out: int, duration_s: float) -> WindowSound:
    """Return a window of a track that holds no sample."""
    return WindowSound(
        samples=np.zeros((rule.channels, num_out), np.float32),
        lead_s=duration_s,
        tail_s=duration_s,
        rate_hz=stream.rate or 0,
        channels=(),
    )
