"""A frame rule says which counts are legal and which frames each latent frame stands for."""

import json
from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.frames import FrameRule

RULES = st.builds(
    FrameRule,
    first=st.integers(1, 17),
    step=st.integers(1, 16),
    latent_first=st.integers(1, 5),
    latent_step=st.integers(1, 4),
)


@given(rule=RULES, groups=st.integers(0, 50))
def test_legal_counts_are_first_plus_whole_steps(rule: FrameRule, groups: int) -> None:
    num_frames = rule.first + groups * rule.step
    assert rule.admits(num_frames)
    assert rule.num_latent_frames(num_frames) == rule.latent_first + groups * rule.latent_step


@given(rule=RULES, groups=st.integers(0, 9))
def test_latent_frames_share_the_clip_without_gaps(rule: FrameRule, groups: int) -> None:
    num_frames = rule.first + groups * rule.step
    spans = rule.latent_spans(num_frames)
    assert len(spans) == rule.num_latent_frames(num_frames)
    assert (spans[0][0], spans[-1][1]) == (0, num_frames)
    assert all(one[1] == next_[0] for one, next_ in pairwise(spans))
    assert all(start < end for start, end in spans)


@given(rule=RULES, num_frames=st.integers(0, 300))
def test_floor_is_the_largest_legal_count(rule: FrameRule, num_frames: int) -> None:
    floor = rule.floor(num_frames)
    legal = [count for count in range(1, num_frames + 1) if rule.admits(count)]
    assert floor == (legal[-1] if legal else None)


def test_clips_of_17_frames_have_latents_of_one_and_of_four() -> None:
    rule = FrameRule(
        first=5, step=17, latent_first=2, latent_step=5, takes_picture=True, cycle=(1, 4, 4, 4, 4)
    )
    assert [count for count in range(60) if rule.admits(count)] == [1, 5, 22, 39, 56]
    assert [rule.num_latent_frames(count) for count in (1, 5, 22, 39)] == [1, 2, 7, 12]
    assert [rule.floor(count) for count in (0, 4, 21, 38)] == [None, 1, 5, 22]
    lengths = [end - start for start, end in rule.latent_spans(22)]
    assert lengths == [1, 4, 4, 4, 4, 1, 4]
    assert rule.latent_spans(1) == ((0, 1),)
    told = json.loads(json.dumps({"frame_rule": asdict(rule)}))
    assert FrameRule.from_spec(told) == rule
    with pytest.raises(ValueError, match=r"must be 1, or 5 \+ k \* 17, got 17; use 5"):
        rule.num_latent_frames(17)


def test_illegal_count_is_refused_with_the_nearest_legal_one() -> None:
    with pytest.raises(ValueError, match=r"1 \+ k \* 4, got 16; use 13"):
        FrameRule(first=1, step=4).num_latent_frames(16)


@pytest.mark.parametrize(
    ("text", "legal"),
    [("8k+1", [1, 9, 17]), ("4k+1", [1, 5, 9, 13, 17]), ("6k", [6, 12, 18]), ("1k", [1, 2, 3])],
)
def test_a_rule_is_read_from_text(text: str, legal: list[int]) -> None:
    rule = FrameRule.parse(text)
    assert [count for count in range(19) if rule.admits(count)][: len(legal)] == legal


@pytest.mark.parametrize("text", ["", "k", "0k+1", "8k+0", "8+1", "8k+1 ", "-4k"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="frames must be a rule like 8k"):
        FrameRule.parse(text)


def test_a_record_without_a_rule_has_none() -> None:
    rule = {"first": 1, "step": 8, "latent_first": 1, "latent_step": 2}
    assert FrameRule.from_spec({"frame_rule": rule}) == FrameRule(step=8, latent_step=2)
    assert FrameRule.from_spec({}) is None
