"""Frames that are called unused are: without them all others decode to the same pixels."""

import io

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from latentcache.decode.video.unused import find_unused_rule
from tests.decode.clips import encode_clip

X265 = {"codec": "libx265", "options": {"x265-params": "keyint=15:bframes=3:log-level=none"}}
LAYERS = {"x265-params": "keyint=15:bframes=3:temporal-layers=3:log-level=none"}


def decode(data: bytes, *, drops: bool) -> tuple[dict[int, np.ndarray], int]:
    """Return frames by their time, and how many packets were dropped."""
    frames, num_dropped = {}, 0
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        is_unused = find_unused_rule(stream.codec_context)
        for packet in container.demux(stream):
            if drops and packet.size and is_unused is not None and is_unused(memoryview(packet)):
                num_dropped += 1
                continue
            for frame in packet.decode():
                assert isinstance(frame, VideoFrame)
                frames[frame.pts] = frame.to_ndarray()
    return frames, num_dropped


@pytest.mark.parametrize(
    "made",
    [
        pytest.param({"options": {"bf": "3", "g": "15"}}, id="h264"),
        pytest.param({"options": {"bf": "3", "b-pyramid": "none"}}, id="h264-flat"),
        pytest.param({"options": {"x264-params": "open-gop=1:bframes=3:keyint=12"}}, id="open"),
        pytest.param({"container": "matroska", "options": {"bf": "2"}}, id="h264-mkv"),
        pytest.param(X265, id="hevc"),
        pytest.param({**X265, "container": "matroska"}, id="hevc-mkv"),
    ],
)
def test_the_frames_kept_do_without_those_dropped(made: dict[str, object]) -> None:
    data = encode_clip(45, **made)
    whole, _ = decode(data, drops=False)
    kept, num_dropped = decode(data, drops=True)
    assert len(whole) == 45
    assert len(kept) == 45 - num_dropped
    assert num_dropped >= 10
    assert all(np.array_equal(pixels, whole[time]) for time, pixels in kept.items())


@pytest.mark.parametrize(
    "made",
    [
        pytest.param({"options": {"bf": "0"}}, id="every-frame-used"),
        pytest.param({"codec": "libx265", "options": LAYERS}, id="layers-in-time"),
        pytest.param({"container": "mpegts", "options": {"bf": "3"}}, id="no-lengths"),
        pytest.param({"codec": "libvpx-vp9", "container": "webm"}, id="vp9"),
    ],
)
def test_what_is_not_sure_to_be_unused_is_kept(made: dict[str, object]) -> None:
    assert decode(encode_clip(20, **made), drops=True)[1] == 0


def test_a_damaged_packet_is_left_to_the_decoder() -> None:
    with av.open(io.BytesIO(encode_clip(20, options={"bf": "3"}))) as container:
        stream = container.streams.video[0]
        is_unused = find_unused_rule(stream.codec_context)
        assert is_unused is not None
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
    found = [each for each in packets if is_unused(memoryview(each))]
    assert found
    for packet in found:
        for damaged in (packet[:-1], packet + b"x", b"\xff" * 4 + packet[4:], packet[:3], b""):
            assert not is_unused(memoryview(damaged))
