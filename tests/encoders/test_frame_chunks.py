"""Groups of frames: any pieces give the groups of the whole clip, and nothing else is kept."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import EncoderError
from latentcache.core.frames import FrameRule
from latentcache.encoders import list_encoders
from latentcache.encoders.frame_chunks import (
    Fields,
    GroupCoder,
    GroupStream,
    encode_groups,
    group_ends,
)

SPEC = {facts.name: facts.spec for facts in list_encoders()}["wan"]


class SummingCoder(GroupCoder):
    """Each group gives its own sum and the sum of all before; counts what it was given."""

    def __init__(self, first: int, step: int) -> None:
        self.first_frames, self.group_frames = first, step
        self.groups: list[int] = []
        self.fails = False

    def start(self) -> list[float]:
        return [0.0]

    def encode_group(self, frames_BCTHW: torch.Tensor, state: list[float]) -> Fields:
        if self.fails:
            raise RuntimeError("out of memory")
        self.groups.append(frames_BCTHW.shape[2])
        state[0] += float(frames_BCTHW.sum())
        return {"z": torch.full((1, 1, 1, 1, 1), state[0])}


def open_stream(coder: SummingCoder, rule: FrameRule) -> GroupStream:
    def run(compute: Callable[[torch.Tensor], Fields], frames: torch.Tensor) -> Fields:
        return compute(frames)

    return GroupStream(replace(SPEC, frame_rule=rule), coder, run, (2, 3))


@given(first=st.integers(1, 9), step=st.integers(1, 9), extra=st.integers(0, 30))
def test_groups_cover_a_clip_once(first: int, step: int, extra: int) -> None:
    ends = group_ends(first + extra, first=first, step=step)
    assert ends[0] == first
    assert ends[-1] == first + extra
    assert all(0 < b - a <= step for a, b in pairwise(ends))


@given(
    step=st.sampled_from([1, 4, 8]),
    groups=st.integers(0, 4),
    pieces=st.lists(st.integers(1, 12), min_size=1, max_size=40),
)
def test_pieces_of_any_size_give_the_groups_of_the_whole(
    step: int, groups: int, pieces: list[int]
) -> None:
    rule = FrameRule(first=1, step=step)
    # As CogVideoX: the first group is larger than the smallest clip.
    whole, coder = SummingCoder(1 + step, step), SummingCoder(1 + step, step)
    clip = torch.arange(1.0 + groups * step).expand(3, 2, 3, -1).permute(0, 3, 1, 2)
    expected = encode_groups(whole, clip[None])["z"][0]
    stream, start, parts = open_stream(coder, rule), 0, []
    for size in [*pieces, clip.shape[1]]:
        parts.append(stream.push(clip[:, start : start + size]))
        start += size
    parts.append(stream.close())
    streamed = torch.cat([part["z"] for part in parts if part], dim=1)
    assert torch.equal(streamed, expected)
    assert coder.groups == whole.groups


def test_stream_keeps_less_than_one_group_of_frames() -> None:
    stream = open_stream(SummingCoder(1, 4), FrameRule(first=1, step=4))
    stream.push(torch.zeros(3, 1000, 2, 3))
    assert stream._pending.untyped_storage().nbytes() == 3 * 3 * 2 * 3 * 4


def test_tail_is_refused_with_what_is_too_much() -> None:
    stream = open_stream(SummingCoder(1, 4), FrameRule(first=1, step=4))
    stream.push(torch.zeros(3, 8, 2, 3))
    with pytest.raises(EncoderError, match=r"must be 1 \+ k \* 4, got 3 frames too many"):
        stream.close()


def test_clip_without_frames_closes_quietly() -> None:
    assert open_stream(SummingCoder(1, 4), FrameRule(first=1, step=4)).close() is None


@pytest.mark.parametrize("shape", [(3, 1, 2, 4), (4, 1, 2, 3), (1, 3, 2, 3, 1)])
def test_frames_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    stream = open_stream(SummingCoder(1, 4), FrameRule(first=1, step=4))
    with pytest.raises(EncoderError, match="frames must be CTHW of 3 x T x 2 x 3"):
        stream.push(torch.zeros(shape))


def test_stream_does_not_go_on_after_an_error() -> None:
    coder = SummingCoder(1, 4)
    stream = open_stream(coder, FrameRule(first=1, step=4))
    stream.push(torch.zeros(3, 1, 2, 3))
    coder.fails = True
    with pytest.raises(RuntimeError, match="out of memory"):
        stream.push(torch.zeros(3, 4, 2, 3))
    coder.fails = False
    with pytest.raises(EncoderError, match="encode the clip again from its start"):
        stream.push(torch.zeros(3, 4, 2, 3))
    assert stream.close() is None
