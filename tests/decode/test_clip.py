"""Clips are exact to the frame: each frame of these files says its number."""

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.decode import (
    ClipRequest,
    ImageLimits,
    VideoTransform,
    decode_clips,
    probe_video,
)
from latentcache.decode.clips.video_pixels import FrameConverter
from latentcache.decode.video.video_file import VideoFile, open_video
from tests.decode.clips import WIDTH_PX, decode, encode_clip, numbers, whole_clip

FILES = {
    "h264-b-frames": {"options": {"bf": "3", "g": "12"}},
    "h264-open-groups": {"options": {"x264-params": "open-gop=1:bframes=3:keyint=12"}},
    "h264-mkv": {"container": "matroska", "options": {"g": "10"}},
    "h264-ts": {"container": "mpegts", "options": {"g": "10"}},
    "mpeg2-ts": {"container": "mpegts", "codec": "mpeg2video", "options": {"g": "9", "bf": "2"}},
    "mpeg2-vob": {"container": "vob", "codec": "mpeg2video", "options": {"g": "9", "bf": "2"}},
    "hevc": {"codec": "libx265", "options": {"x265-params": "keyint=12:log-level=none"}},
    "vp9-webm": {"container": "webm", "codec": "libvpx-vp9", "options": {"g": "12"}},
    "mpeg4-avi-b-frames": {
        "container": "avi",
        "codec": "mpeg4",
        "options": {"bf": "2", "g": "12", "qscale": "2"},
    },
    "mjpeg-avi": {"container": "avi", "codec": "mjpeg", "pixel_format": "yuvj420p"},
    "raw-h264": {"container": "h264", "options": {"g": "10"}},
    "odd-444": {"pixel_format": "yuv444p"},
}


@pytest.mark.parametrize("name", FILES)
def test_any_clip_of_any_container_holds_its_own_frames(name: str) -> None:
    data = encode_clip(40, **FILES[name])
    starts = [0, 3, 11, 13, 23, 31]
    clips = decode(data, *(whole_clip(9, start_s=start / 25) for start in starts))
    assert [numbers(clip) for clip in clips] == [list(range(s, s + 9)) for s in starts]


@settings(max_examples=6)
@given(
    gaps=st.lists(st.integers(6, 90), min_size=20, max_size=30),
    start=st.integers(0, 11),
    fps=st.sampled_from([5.0, 16.0, 23.976, 30.0]),
)
def test_a_variable_rate_gives_the_frames_shown(gaps: list[int], start: int, fps: float) -> None:
    ticks = np.cumsum([0, *gaps])
    data = encode_clip(times_ticks=ticks.tolist(), options={"bf": "2", "g": "7"})
    shown = ticks / 600
    count = 1 + int((shown[-1] - shown[start]) * fps)
    (clip,) = decode(data, whole_clip(count, start_s=float(shown[start]), fps=fps))
    times = shown[start] + np.arange(count) / fps + np.median(gaps) / 1200 - 1e-6
    assert numbers(clip) == (np.searchsorted(shown, times, side="right") - 1).tolist()


def test_a_file_that_does_not_begin_at_zero_is_counted_from_its_first_frame() -> None:
    data = encode_clip(times_ticks=[6000 + 24 * k for k in range(30)], container="matroska")
    (clip,) = decode(data, whole_clip(5, start_s=0.4))
    assert numbers(clip) == [10, 11, 12, 13, 14]


def test_another_rate_takes_every_second_frame_or_each_twice() -> None:
    data = encode_clip(40)
    slow, fast = decode(data, whole_clip(9, fps=12.5), whole_clip(8, fps=50.0))
    assert numbers(slow) == list(range(0, 18, 2))
    assert numbers(fast) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_a_late_clip_of_a_broadcast_is_found_without_decoding_what_is_before_it(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"g": "10", "bf": "2"}
    data = encode_clip(200, container="mpegts", codec=codec, options=options)
    decoded = []
    decode_packet = VideoFile.decode

    def counted(video: VideoFile, packet: av.Packet | None, number: int) -> list[av.VideoFrame]:
        decoded.append(number)
        return decode_packet(video, packet, number)

    monkeypatch.setattr(VideoFile, "decode", counted)
    (clip,) = decode(data, whole_clip(5, start_s=180 / 25))
    assert numbers(clip) == [180, 181, 182, 183, 184]
    assert len(decoded) < 60


def test_overlapping_clips_in_any_order_are_the_clips_alone() -> None:
    data = encode_clip(40, options={"g": "10"})
    requests = [whole_clip(9, start_s=start / 25) for start in (20, 4, 8, 4, 0)]
    together = decode(data, *requests)
    for request, clip in zip(requests, together, strict=True):
        (alone,) = decode(data, request)
        assert np.array_equal(clip, alone)


def test_a_clip_past_the_end_is_refused_and_costs_no_other() -> None:
    good, late, before = decode(
        encode_clip(20),
        whole_clip(9),
        whole_clip(9, start_s=0.6),
        whole_clip(3, start_s=-0.1),
    )
    assert numbers(good) == list(range(9))
    assert isinstance(late, MediaError)
    assert str(late) == (
        "the clip asks for 0.600 to 0.920 s of a video whose last frame is at 0.760 s; "
        "plan the corpus again"
    )
    assert isinstance(before, MediaError)


def test_a_damaged_place_costs_the_clips_that_need_it() -> None:
    data = bytearray(encode_clip(40, options={"g": "10", "bf": "0", "sc_threshold": "0"}))
    with av.open(io.BytesIO(data)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux() if packet.size]
    start, size = packets[20]  # begins the third group of ten
    for place in range(start + 8, start + size):
        data[place] ^= 0xFF
    first, before, at, after, last = decode(
        bytes(data), *(whole_clip(5, start_s=number / 25) for number in (0, 15, 19, 25, 30))
    )
    assert [numbers(clip)[0] for clip in (first, before, last)] == [0, 15, 30]
    for clip in (at, after):
        assert isinstance(clip, MediaError)
        assert clip.code == "corrupt"


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_file_cut_short_is_refused_whole(container: str, share: float) -> None:
    options = {"codec": "mpeg4", "options": {"g": "5"}}
    data = encode_clip(60, container=container, **options)
    with pytest.raises(MediaError) as caught:
        decode(data[: int(len(data) * share)], whole_clip(9))
    assert caught.value.code in ("truncated", "corrupt"), str(caught.value)


def test_a_clip_is_cropped_and_resized_as_planned() -> None:
    data = encode_clip(5)
    geometry = Geometry(
        source_width_px=WIDTH_PX,
        source_height_px=64,
        resized_width_px=64,
        resized_height_px=32,
        crop_left_px=16,
        crop_top_px=0,
    )
    request = ClipRequest(
        bucket=Bucket(5, 32, 32), geometry=geometry, start_s=0.0, frame_rate_fps=25.0
    )
    whole, cropped = decode(data, whole_clip(5), request)
    assert np.array_equal(whole[:, :, 16:48], cropped)


def test_a_frame_of_another_size_than_planned_is_refused() -> None:
    (clip,) = decode(encode_clip(5), whole_clip(5, source_px=(128, 128)))
    assert isinstance(clip, MediaError)
    assert clip.code == "size_mismatch"


HARD = [
    "imageio-binaries__cockatoo.mp4",  # key frames that need those before them
    "mmaction2__test.avi",  # times of decoding
    "mp4parser__MOV00006.3gp",  # an index with wrong key frames
    "datasets__test_video_66x50.mov",  # an edit list
    "moviepy__no_duration.webm",
    "torchcodec__h265_video.mp4",
    "torchcodec__test_non_zero_start.mp4",
    "sample-videos__brother.mkv",  # a variable rate
]
SLOW = {"FastVideo__motorcycle.mp4"}
"""4K in 10 bits: a second for ten frames."""


def plain_frames(path: Path, wanted: set[int], track: int) -> dict[int, NDArray[np.uint8]]:
    """Return some frames of a file as a decoder that starts at its beginning gives them."""
    converter = FrameConverter(VideoTransform())
    frames = {}
    with av.open(str(path)) as container:
        stream = container.streams[track]
        stream.thread_type = "NONE"
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                frames[number] = converter.convert(frame, (64, 32))
            if number == max(wanted):
                break
    return frames


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_clips_of_real_files_are_the_frames_of_a_plain_decode(
    shared_data: Path, data: st.DataObject
) -> None:
    """At the times of a clip, whatever its start and rate, in any company."""
    folder = shared_data / "videos"
    left_out = {"MANIFEST.csv", *SLOW}
    names = sorted(path.name for path in folder.iterdir() if path.name not in left_out)
    path = folder / data.draw(st.one_of(st.sampled_from(HARD), st.sampled_from(names)))
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        info = probe_video(file, size_bytes=size_bytes, limits=ImageLimits())
        line, last = info.timeline, info.timeline.num_frames - 1
        with open_video(file, size_bytes=size_bytes) as video:
            track = video.stream.index
        requests = []
        for _ in range(data.draw(st.integers(1, 3))):
            start_s = data.draw(st.floats(0, line.time_s(last)))
            fps = data.draw(st.sampled_from([line.frame_rate_fps or 25.0, 5.0, 16.0, 59.94]))
            fits = 1 + int((line.time_s(last) - start_s) * fps)
            count = data.draw(st.integers(1, min(9, fits)))
            source_px = (info.width_px, info.height_px)
            requests.append(whole_clip(count, start_s=start_s, fps=fps, source_px=source_px))
        clips = dict(
            decode_clips(file, requests, size_bytes=size_bytes, transform=VideoTransform())
        )
    shown = [line.shown_at(request.times_s()).tolist() for request in requests]
    frames = plain_frames(path, {index for each in shown for index in each}, track)
    for number, indices in enumerate(shown):
        assert np.array_equal(clips[number], np.stack([frames[index] for index in indices]))


def test_a_mirrored_clip_is_the_mirror_of_the_clip() -> None:
    data = encode_clip(12)
    plain = whole_clip(9)
    mirrored = replace(plain, geometry=replace(plain.geometry, is_flipped=True))
    found, flipped, again = decode(data, plain, mirrored, plain)
    assert isinstance(found, np.ndarray)
    assert np.array_equal(flipped, found[:, :, ::-1])
    assert np.array_equal(again, found)
