"""Clips are of the part that an edit list shows, whatever the codec."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import MediaError
from latentcache.decode.video.edit_list import Edit, visible
from tests.decode.boxes import with_edits
from tests.decode.clips import decode, encode_clip, numbers, probe, whole_clip

TICK = 512
"""Of a frame in FFmpeg's MP4 files of 25 per second; times are told at 12,800 per second."""


@pytest.fixture(scope="module")
def film() -> bytes:
    """60 frames, two of delay, a key frame every 12."""
    return encode_clip(60, options={"bf": "2", "g": "12", "x264-params": "scenecut=0"})


def ticks(data: bytes, frames: float) -> int:
    """Return a place in the track, in its ticks; the first frame is at two frames of delay."""
    return round((frames + 2) / 25 * probe_ticks(data))


def probe_ticks(data: bytes) -> int:
    return int(1 / probe(data).timeline.tick_s)


def shown(data: bytes) -> list[int]:
    """Return the numbers of all frames that a file shows."""
    count = probe(data).timeline.num_frames
    (clip,) = decode(data, whole_clip(count))
    return numbers(clip)


@pytest.mark.parametrize(
    ("frames_cut", "length_ms", "expected"),
    [
        (0, 1000, range(25)),  # the end, on a phone
        (30, 0, range(30, 60)),  # the start, in mid-group; to the end
        (12.5, 1000, range(12, 37)),  # both, between two frames
        (13, 400, range(13, 23)),
        (59, 40, range(59, 60)),
        (0, 99_000, range(60)),
    ],
)
def test_the_part_that_is_shown_is_the_whole_video(
    film: bytes, frames_cut: float, length_ms: int, expected: range
) -> None:
    data = with_edits(film, [(length_ms, ticks(film, frames_cut))])
    assert shown(data) == list(expected)
    assert probe(data).timeline.frame_rate_fps == (25.0 if len(expected) > 1 else 0.0)


@pytest.mark.parametrize(
    ("codec", "container", "pixel_format"),
    [("mjpeg", "mov", "yuvj420p"), ("mpeg4", "mp4", "yuv420p"), ("prores_ks", "mov", "yuv422p10le"),
     ("libx265", "mp4", "yuv420p")],
)  # fmt: skip
def test_so_it_is_in_every_codec(codec: str, container: str, pixel_format: str) -> None:
    options = {"x265-params": "log-level=none:bframes=0"} if codec == "libx265" else {}
    data = encode_clip(
        30, codec=codec, container=container, pixel_format=pixel_format, options=options
    )
    rate = probe_ticks(data)
    part = with_edits(data, [(600, round(5 / 25 * rate))]) if b"edts" in data else None
    if part is None:
        pytest.skip("this muxer writes no edit list to change")
    assert shown(part) == list(range(5, 20))


def test_several_edits_follow_each_other_and_nothing_shown_is_a_pause(film: bytes) -> None:
    data = with_edits(
        film, [(400, ticks(film, 20)), (1000, -1), (400, ticks(film, 40)), (400, ticks(film, 20))]
    )
    line = probe(data).timeline
    assert line.num_frames == 30
    assert line.frame_rate_fps == 25.0
    begin, middle, end = decode(
        data, whole_clip(10), whole_clip(10, start_s=1.4), whole_clip(10, start_s=1.8)
    )
    assert numbers(begin) == numbers(end) == list(range(20, 30))
    assert numbers(middle) == list(range(40, 50))


def test_an_edit_list_that_shows_nothing_is_said(film: bytes) -> None:
    with pytest.raises(MediaError, match="edit list shows none of its frames"):
        probe(with_edits(film, [(1000, -1)]))


def test_truncated_is_said_of_files_that_are(film: bytes) -> None:
    data = with_edits(film, [(400, ticks(film, 0))])
    with pytest.raises(MediaError) as caught:
        probe(data[:-10])
    assert caught.value.code == "truncated"


@given(
    gaps=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    start=st.floats(0, 1),
    share=st.floats(0.01, 1),
)
def test_a_part_holds_what_it_covers_and_at_its_ends_the_larger_half(
    gaps: list[int], start: float, share: float
) -> None:
    times = np.cumsum([0, *gaps]).astype(np.int64) * 10
    begin = round(start * int(times[-1]))
    length = max(1, round(share * (int(times[-1]) - begin)))
    found, pictures = visible(times, [Edit(begin, length)])
    inside = np.flatnonzero((times >= begin) & (times < begin + length))
    assert set(inside[:-1].tolist()) <= set(pictures.tolist())
    assert np.all(np.diff(pictures) == 1)
    assert np.all(np.diff(found) >= 0)
    assert all(first >= begin - 400 for first in times[pictures].tolist()[1:])
