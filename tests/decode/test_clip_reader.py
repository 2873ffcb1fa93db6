"""A clip in groups is the clip, and holding it takes the memory of a group."""

import io
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcache.core.errors import MediaError
from latentcache.decode import ClipReader, ClipRequest, VideoTransform, decode_clip
from tests.decode.clips import encode_clip, whole_clip

DATA = encode_clip(40, options={"g": "10", "bf": "2"})


def reader(request: ClipRequest, max_group_frames: int, data: bytes = DATA) -> ClipReader:
    return ClipReader(
        io.BytesIO(data),
        request,
        size_bytes=len(data),
        transform=VideoTransform(),
        max_group_frames=max_group_frames,
    )


@settings(max_examples=10)
@given(
    num_frames=st.integers(1, 20),
    start=st.integers(0, 19),
    fps=st.sampled_from([25.0, 50.0, 26.0]),
    group=st.integers(1, 25),
)
def test_groups_joined_are_the_clip(num_frames: int, start: int, fps: float, group: int) -> None:
    request = whole_clip(num_frames, start_s=start / 25, fps=fps)
    with reader(request, group) as groups:
        found = list(groups)
    assert [len(each) for each in found[:-1]] == [group] * (len(found) - 1)
    whole = decode_clip(io.BytesIO(DATA), request, size_bytes=len(DATA), transform=VideoTransform())
    assert np.array_equal(np.concatenate(found), whole)


def test_memory_does_not_grow_with_the_clip() -> None:
    def peak(num_frames: int) -> int:
        # A rate far above the file's: many frames of a small file.
        request = whole_clip(num_frames, fps=2000.0, size_px=(256, 128))
        tracemalloc.start()
        assert sum(len(group) for group in reader(request, 4)) == num_frames
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    assert peak(1600) < peak(100) + 2**20


def test_a_clip_past_the_end_is_refused_before_its_first_group() -> None:
    with pytest.raises(MediaError, match=r"whose last frame is at 1\.560 s"):
        next(reader(whole_clip(9, start_s=1.4), 4))


def test_after_damage_there_is_no_more() -> None:
    data = bytearray(DATA)
    place = data.index(b"mdat") + len(data) // 2
    data[place : place + 400] = bytes(400)
    groups: Iterator[object] = reader(whole_clip(40), 1, bytes(data))
    with pytest.raises(MediaError) as caught:
        list(groups)
    assert caught.value.code in ("corrupt", "truncated")
    assert next(groups, None) is None


def test_a_closed_reader_gives_nothing() -> None:
    groups = reader(whole_clip(9), 2)
    next(groups)
    groups.close()
    assert next(groups, None) is None


def test_a_group_has_a_frame_at_least() -> None:
    with pytest.raises(ValueError, match="max_group_frames must be at least 1, got 0"):
        reader(whole_clip(9), 0)
