import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError, MediaError
from latentcache.core.frames import FrameRule
from latentcache.plan.clips import Clip, ClipRules, VideoLength, clip_within, clips_of


def video(num_frames: int, fps: float) -> VideoLength:
    """Return a video of an even rate."""
    if num_frames == 1:
        return VideoLength(last_s=0.0, frame_s=0.0, frame_rate_fps=0.0)
    return VideoLength(last_s=(num_frames - 1) / fps, frame_s=1 / fps, frame_rate_fps=fps)


POLICIES = st.one_of(
    st.just("first"),
    st.integers(1, 9).map("uniform:{}".format),
    st.floats(0.05, 3).map("sliding:{:.3f}".format),
)
VIDEOS = st.builds(video, st.integers(1, 400), st.sampled_from([10, 23.976, 25.0, 29.97, 60.0]))
RULES = st.builds(
    ClipRules,
    frames=st.lists(st.sampled_from([1, 5, 9, 17, 33, 81]), min_size=1, unique=True).map(tuple),
    frame_rate_fps=st.sampled_from([0.0, 8.0, 16.0, 24.0, 30.0]),
    policy=POLICIES,
)


@given(one=VIDEOS, rules=RULES)
def test_clips_lie_within_the_video_and_have_an_allowed_length(
    one: VideoLength, rules: ClipRules
) -> None:
    available = 1 + math.floor((one.last_s + one.frame_s / 2) * rules.rate_of(one) + 1e-6)
    if available < min(rules.frames):
        with pytest.raises(MediaError, match="the shortest clip"):
            clips_of(one, rules)
        return
    clips = clips_of(one, rules)
    assert clips
    assert len({clip.num_frames for clip in clips}) == 1
    for clip in clips:
        assert clip.num_frames in rules.frames
        assert clip.start_s >= 0
        last_s = clip.start_s + (clip.num_frames - 1) / clip.frame_rate_fps
        assert last_s <= one.last_s + one.frame_s / 2 + 1e-6
    assert len({clip.window for clip in clips}) == len(clips)
    # No longer length would have fitted.
    longer = [count for count in rules.frames if count > clips[0].num_frames]
    rate = clips[0].frame_rate_fps
    assert all((count - 1) / rate > one.last_s + one.frame_s / 2 for count in longer)


@given(one=VIDEOS, wanted=st.integers(1, 20), length=st.sampled_from([1, 5, 17]))
def test_uniform_clips_share_no_frame_and_reach_from_start_to_end(
    one: VideoLength, wanted: int, length: int
) -> None:
    rules = ClipRules(frames=(1, length), policy=f"uniform:{wanted}")
    clips = clips_of(one, rules)
    rate = clips[0].frame_rate_fps
    firsts = [round(clip.start_s * rate) for clip in clips]
    size = clips[0].num_frames
    assert all(later - first >= size for first, later in pairwise(firsts))
    assert firsts[0] == 0
    available = 1 + math.floor((one.last_s + one.frame_s / 2) * rate + 1e-6)
    assert len(clips) == min(wanted, available // size)
    if len(clips) > 1:
        assert available - (firsts[-1] + size) <= 1


@given(
    one=VIDEOS,
    step=st.integers(1, 9),
    first=st.integers(1, 9),
    fps=st.sampled_from([0.0, 8.0, 24.0]),
)
def test_a_whole_clip_has_the_largest_legal_count_from_the_start(
    one: VideoLength, step: int, first: int, fps: float
) -> None:
    rule = FrameRule(first=first, step=step)
    rules = ClipRules(frames=rule, frame_rate_fps=fps, policy="whole")
    available = 1 + math.floor((one.last_s + one.frame_s / 2) * rules.rate_of(one) + 1e-6)
    if available < first:
        with pytest.raises(MediaError, match=f"the shortest clip {first}"):
            clips_of(one, rules)
        return
    (clip,) = clips_of(one, rules)
    assert clip.start_s == 0
    assert rule.admits(clip.num_frames)
    assert clip.num_frames <= available < clip.num_frames + step


def test_a_window_of_whole_clips_is_cut_by_their_rule() -> None:
    rules = ClipRules(frames=FrameRule.parse("8k+1"), policy="whole")
    assert clip_within(video(300, 30.0), rules, 2.0, 3.0).num_frames == 25
    assert clip_within(video(300, 30.0), rules, 2.0, None).num_frames == 233


def test_a_rule_of_frames_is_of_whole_clips_alone() -> None:
    with pytest.raises(ConfigError, match="frames must be counts where clips are not whole"):
        ClipRules(frames=FrameRule.parse("8k+1"), policy="uniform:2")


def test_the_usual_calls() -> None:
    ten_s = video(300, 30.0)
    assert clips_of(ten_s, ClipRules(frames=(17,), frame_rate_fps=16.0)) == [
        Clip(start_s=0.0, num_frames=17, frame_rate_fps=16.0)
    ]
    two = clips_of(ten_s, ClipRules(frames=(17,), frame_rate_fps=16.0, policy="uniform:2"))
    assert [clip.start_s for clip in two] == [0.0, pytest.approx(8.9375)]
    sliding = clips_of(ten_s, ClipRules(frames=(81,), policy="sliding:2"))
    assert [clip.start_s for clip in sliding] == [0.0, 2.0, 4.0, 6.0]
    assert {clip.num_frames for clip in sliding} == {81}


def test_a_video_that_is_too_short_says_by_how_much() -> None:
    with pytest.raises(MediaError, match=r"has 3 frames at the clips' rate, the shortest clip 17"):
        clips_of(video(3, 25.0), ClipRules(frames=(17, 33)))


def test_a_manifest_s_window_is_cut_to_an_allowed_length() -> None:
    rules = ClipRules(frames=(5, 17), frame_rate_fps=10.0)
    clip = clip_within(video(300, 30.0), rules, 2.0, 3.0)
    assert clip == Clip(start_s=2.0, num_frames=5, frame_rate_fps=10.0)
    assert clip_within(video(300, 30.0), rules, 2.0, None).num_frames == 17


@given(
    fps=st.sampled_from([10.0, 23.976, 25.0, 29.97, 30.0, 60.0]),
    first=st.integers(0, 200),
    length=st.sampled_from([1, 5, 17, 81]),
    decimals=st.integers(3, 6),
)
def test_a_window_keeps_its_last_frame_however_its_times_were_rounded(
    fps: float, first: int, length: int, decimals: int
) -> None:
    start_s, end_s = (round(each / fps, decimals) for each in (first, first + length))
    rules = ClipRules(frames=FrameRule.parse("1k"), policy="whole")
    assert clip_within(video(300, fps), rules, start_s, end_s).num_frames == length


@pytest.mark.parametrize(("start_s", "end_s"), [(-1.0, 2.0), (3.0, 3.0), (11.0, 12.0), (4.0, 1.0)])
def test_a_window_outside_the_video_is_refused(start_s: float, end_s: float) -> None:
    with pytest.raises(MediaError) as caught:
        clip_within(video(300, 30.0), ClipRules(frames=(5,)), start_s, end_s)
    assert caught.value.code == "bad_record"


@pytest.mark.parametrize(
    "policy",
    ["uniform", "uniform:0", "uniform:2.5", "sliding:0", "sliding:x", "whole:2", "every", ""],
)
def test_a_policy_that_makes_no_sense_is_refused(policy: str) -> None:
    with pytest.raises(
        ConfigError, match="clips must be one of first, uniform:N, sliding:S, whole"
    ):
        ClipRules(frames=(17,), policy=policy)
