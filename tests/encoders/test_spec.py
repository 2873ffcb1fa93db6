"""Frame rules and refusals: the cache keeps the rule, models only trim."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.media import Bucket
from latentcache.encoders import FrameRule, list_encoders

SPECS = {facts.name: facts.spec for facts in list_encoders()}
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


@pytest.mark.parametrize(
    ("name", "num_frames", "spans"),
    [
        ("wan", 9, [(0, 1), (1, 5), (5, 9)]),
        ("cogvideox", 9, [(0, 1), (1, 5), (5, 9)]),
        ("ltx2", 17, [(0, 1), (1, 9), (9, 17)]),
        ("svd", 2, [(0, 1), (1, 2)]),
    ],
)
def test_first_frame_has_a_latent_of_its_own(
    name: str, num_frames: int, spans: list[tuple[int, int]]
) -> None:
    assert list(SPECS[name].frame_rule.latent_spans(num_frames)) == spans


@given(rule=RULES, num_frames=st.integers(0, 300))
def test_floor_is_the_largest_legal_count(rule: FrameRule, num_frames: int) -> None:
    floor = rule.floor(num_frames)
    legal = [count for count in range(1, num_frames + 1) if rule.admits(count)]
    assert floor == (legal[-1] if legal else None)


def test_illegal_count_is_refused_with_the_nearest_legal_one() -> None:
    with pytest.raises(ValueError, match=r"1 \+ k \* 4, got 16; use 13"):
        FrameRule(first=1, step=4).num_latent_frames(16)


def test_only_size_and_largest_size_are_enforced() -> None:
    fixed = replace(SPECS["dct"], fixed_size=(256, 256))
    assert fixed.refusal(Bucket(1, 256, 256)) is None
    assert "the only size" in (fixed.refusal(Bucket(1, 256, 264)) or "")
    limited = replace(SPECS["dct"], max_size_px=512)
    assert limited.refusal(Bucket(1, 512, 512)) is None
    assert "larger than" in (limited.refusal(Bucket(1, 512, 520)) or "")
