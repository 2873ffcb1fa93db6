from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latentcache.decode.timeline import PacketFacts, Timeline, timeline_of

TICK = Fraction(1, 600)


def timeline(ticks: list[int], keys: tuple[int, ...] = (0,)) -> Timeline:
    return Timeline(np.array(ticks, np.int64), TICK, np.array(keys, np.int64), has_times=True)


@given(
    gaps=st.lists(st.integers(1, 500), max_size=50),
    times=st.lists(st.floats(0, 40), min_size=1, max_size=20),
)
def test_the_frame_at_a_time_is_the_last_that_has_come(gaps: list[int], times: list[float]) -> None:
    line = timeline([7, *(7 + np.cumsum(gaps)).tolist()])
    shown = (line.ticks - 7) / 600
    for time_s, found in zip(times, line.shown_at(times), strict=True):
        assert found == 0 or shown[found] <= time_s + line.frame_s / 2
        later = shown[found + 1 :]
        assert not len(later) or later[0] > time_s + line.frame_s / 2 - 3e-6


def test_of_an_even_rate_the_nearest_frame_is_meant() -> None:
    line = timeline([24 * k for k in range(50)])
    times = [0.0, 0.019, 0.021, 1.0, 1.059, 1.061]
    assert line.shown_at(times).tolist() == [0, 0, 1, 25, 26, 27]


def test_a_picture_that_stands_stays_until_the_next_comes() -> None:
    line = timeline([0, 24, 48, 648, 672, 696])
    assert line.shown_at([0.08, 0.7, 1.0, 1.05, 1.08]).tolist() == [2, 2, 2, 2, 3]


def test_halfway_between_two_frames_the_earlier_is_meant() -> None:
    # 20 of 30 frames per second: every other time lies exactly between two frames.
    line = timeline([20 * k for k in range(31)])
    times = [k / 20 for k in range(20)]
    assert line.shown_at(times).tolist()[:6] == [0, 1, 3, 4, 6, 7]
    assert line.shown_at([5.0 + one - 5.0 for one in times]).tolist()[:6] == [0, 1, 3, 4, 6, 7]


def test_a_rounded_clock_repeats_and_skips_no_frame() -> None:
    line = timeline([round(1000 * k / 30) for k in range(90)])
    line = Timeline(line.ticks, Fraction(1, 1000), line.keys, has_times=True)
    assert line.shown_at([k / 30 for k in range(90)]).tolist() == list(range(90))


def test_packets_in_decoding_order_are_sorted_into_the_order_of_showing() -> None:
    packets = [PacketFacts(tick, is_key) for tick, is_key in [(0, 1), (72, 0), (24, 0), (48, 0)]]
    line = timeline_of(packets, tick_s=TICK, frame_rate=Fraction(25), is_reordered=False)
    assert line.ticks.tolist() == [0, 24, 48, 72]
    assert line.has_times


def test_frames_without_times_are_evenly_spaced_and_counted() -> None:
    packets = [PacketFacts(None, is_key=True)] * 3
    line = timeline_of(packets, tick_s=TICK, frame_rate=Fraction(50), is_reordered=False)
    assert not line.has_times
    assert [line.time_s(k) for k in range(3)] == [0.0, 0.02, 0.04]


def test_two_frames_at_one_time_cannot_be_told_apart_and_are_counted() -> None:
    packets = [PacketFacts(tick, is_key=False) for tick in (0, 24, 24, 48)]
    line = timeline_of(packets, tick_s=TICK, frame_rate=Fraction(25), is_reordered=False)
    assert not line.has_times
    assert line.num_frames == 4


def test_duration_and_rate_count_the_last_frame_in() -> None:
    line = timeline([100 + 24 * k for k in range(25)])
    assert line.duration_s == 1.0
    assert line.frame_rate_fps == 25.0


def test_a_picture_of_one_frame_has_no_rate() -> None:
    line = timeline([7])
    assert (line.frame_rate_fps, line.duration_s, line.frame_s) == (0.0, 0.0, 0.0)
    assert line.shown_at([0.0, 5.0]).tolist() == [0, 0]


def test_the_key_before_a_frame() -> None:
    line = timeline(list(range(20)), keys=(0, 8, 16))
    assert [line.key_before(k) for k in (0, 7, 8, 15, 19)] == [0, 0, 8, 8, 16]
