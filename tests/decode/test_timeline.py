from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latentcache.decode.video.timeline import (
    ClockFacts,
    Naming,
    PacketFacts,
    Pictures,
    Timeline,
    timeline_of,
    track_of,
)

TICK = Fraction(1, 600)


def timeline(ticks: list[int], tick_s: Fraction = TICK) -> Timeline:
    times, numbers = np.array(ticks, np.int64), np.arange(len(ticks))
    pictures = Pictures(Naming.TIME, times, np.zeros(1, np.int64), numbers)
    return Timeline(times, tick_s, pictures, numbers)


def of_packets(packets: list[PacketFacts], rate: int = 25, **told: bool) -> Timeline:
    clock = ClockFacts(tick_s=TICK, frame_rate=Fraction(rate), **told)
    return timeline_of(track_of(packets, clock))


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
    line = timeline([round(1000 * k / 30) for k in range(90)], Fraction(1, 1000))
    assert line.shown_at([k / 30 for k in range(90)]).tolist() == list(range(90))


def test_packets_in_decoding_order_are_sorted_into_the_order_of_showing() -> None:
    packets = [PacketFacts(tick, is_key) for tick, is_key in [(0, 1), (72, 0), (24, 0), (48, 0)]]
    line = of_packets(packets)
    assert line.ticks.tolist() == [0, 24, 48, 72]
    assert line.pictures.naming is Naming.TIME


def test_frames_without_times_are_evenly_spaced_and_counted() -> None:
    packets = [PacketFacts(None, is_key=True)] * 3
    line = of_packets(packets, rate=50)
    assert line.pictures.naming is Naming.COUNT
    assert [line.time_s(k) for k in range(3)] == [0.0, 0.02, 0.04]


def test_two_frames_at_one_time_share_the_time_up_to_the_next() -> None:
    packets = [PacketFacts(tick, is_key=False) for tick in (0, 24, 24, 72)]
    line = of_packets(packets)
    assert line.pictures.naming is Naming.PACKET
    assert line.ticks.tolist() == [0, 24, 48, 72]


def test_duration_and_rate_count_the_last_frame_in() -> None:
    line = timeline([100 + 24 * k for k in range(25)])
    assert line.duration_s == 1.0
    assert line.frame_rate_fps == 25.0


def test_a_picture_of_one_frame_has_no_rate() -> None:
    line = timeline([7])
    assert (line.frame_rate_fps, line.duration_s, line.frame_s) == (0.0, 0.0, 0.0)
    assert line.shown_at([0.0, 5.0]).tolist() == [0, 0]


def test_the_key_before_a_frame() -> None:
    numbers = np.arange(20)
    pictures = Pictures(Naming.TIME, numbers, np.array([0, 8, 16]), numbers)
    assert [pictures.key_before(k) for k in (0, 7, 8, 15, 19)] == [0, 0, 8, 8, 16]


@given(
    num_frames=st.integers(40, 90),
    at=st.integers(0, 39),
    wrong=st.sampled_from([-(10**7), 0, 10**7, None]),
    has_b_frames=st.booleans(),
)
def test_one_wrong_time_costs_no_other_frame_its_time(
    num_frames: int, at: int, wrong: int | None, has_b_frames: bool
) -> None:
    order = list(range(num_frames))
    if has_b_frames:  # 0 3 1 2 6 4 5: a frame that others refer to comes before them
        order = [k + {0: 2, 1: -1, 2: -1}[(k - 1) % 3] if k else 0 for k in order]
        order = [k for k in order if k < num_frames]
    right = [100_000 + 24 * k for k in order]
    told = [wrong if k == at else tick for k, tick in enumerate(right)]
    first_of_group = 1 if has_b_frames else 0
    packets = [PacketFacts(tick, k % 12 == first_of_group or k == 0) for k, tick in enumerate(told)]
    line = of_packets(packets)
    known = dict(zip(line.pictures.packets.tolist(), line.ticks.tolist(), strict=True))
    others = {k: tick for k, tick in enumerate(right) if k != at}
    assert {k: known[k] for k in others} == others
    if 16 < at < num_frames - 17:
        assert known[at] == right[at]


def test_captures_that_were_joined_follow_each_other() -> None:
    first = [PacketFacts(5000 + 24 * k, is_key=k % 10 == 0) for k in range(30)]
    second = [PacketFacts(200 + 24 * k, is_key=k % 10 == 0) for k in range(30)]
    far = [PacketFacts(10**6 + 24 * k, is_key=k % 10 == 0) for k in range(30)]
    for packets, told in (
        (first + second, {}),
        (second + first, {"is_broadcast": True}),  # 7 s later: a pause
        (second + far, {"is_broadcast": True}),
    ):
        line = of_packets(packets, **told)
        gaps = np.diff(line.ticks)
        if packets is not first + second:
            assert line.frame_rate_fps == 25.0
        assert line.pictures.packets.tolist() == list(range(60))
        assert set(gaps.tolist()) <= {24, 5000 - 200 - 29 * 24}
    assert of_packets(second + far).time_s(59) > 1600  # elsewhere it is a pause


def test_a_pause_and_a_long_first_or_last_frame_slow_no_clip_down() -> None:
    even = [24 * k for k in range(60)]
    assert timeline([*even[:30], *(6000 + tick for tick in even[30:])]).frame_rate_fps == 25.0
    assert timeline([0, *(36_000 + tick for tick in even[1:])]).frame_rate_fps == 25.0
    assert timeline([*even, 40_000]).frame_rate_fps == 25.0
    rounded = [round(1000 * k / 30) for k in range(60) if k != 20]
    assert abs(timeline(rounded, Fraction(1, 1000)).frame_rate_fps - 30) < 0.02


def test_packets_without_a_picture_neither_count_nor_shift() -> None:
    counts = [1, 0, 1, 2, 0, 1]
    packets = [PacketFacts(24 * k, k == 0, count) for k, count in enumerate(counts)]
    line = of_packets(packets)
    # Two pictures in one packet leave one to the next, which has none of its own.
    assert line.pictures.packets.tolist() == [0, 2, 3, 4, 5]
    assert line.ticks.tolist() == [0, 48, 72, 96, 120]
