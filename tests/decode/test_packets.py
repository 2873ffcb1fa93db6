"""Which packets make a picture, and which of several frames is shown when a clock is wrong."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from latentcache.core.errors import MediaError
from latentcache.decode.video.timeline import Naming
from tests.decode.boxes import field_coded_h264, remuxed, with_time_off
from tests.decode.clips import decode, encode_clip, numbers, probe, whole_clip


@pytest.fixture(scope="module")
def plain() -> bytes:
    """60 frames of 25 per second without B-frames, a key frame every ten."""
    return encode_clip(60, container="matroska", options={"bf": "0", "g": "10"})


PAUSE_MS = [40 * k for k in range(30)] + [11_200 + 40 * k for k in range(30)]


@pytest.mark.parametrize("off_ms", [0, -40, -9_000, 20_000])
def test_after_a_pause_and_one_wrong_time_all_others_show_what_they_should(
    plain: bytes, off_ms: int
) -> None:
    data = with_time_off(remuxed(plain, times=PAUSE_MS), 40, off_ms)
    line = probe(data).timeline
    assert line.num_mended == (off_ms != 0)
    assert line.frame_rate_fps == 25.0
    early, late = decode(data, whole_clip(5), whole_clip(5, start_s=11.2))
    assert numbers(early) == [0, 1, 2, 3, 4]
    assert numbers(late) == [30, 31, 32, 33, 34]
    (about,) = decode(data, whole_clip(5, start_s=11.2 + 8 * 0.04))
    assert numbers(about) == [38, 39, 40, 41, 42]


@pytest.mark.parametrize(("container", "codec"), [("mpegts", "libx264"), ("vob", "mpeg2video")])
def test_captures_that_were_joined_show_all_their_frames_in_order(
    container: str, codec: str
) -> None:
    options = {"bf": "2", "g": "12"}
    data = b"".join(
        encode_clip(30, container=container, codec=codec, options=options, first_number=first)
        for first in (0, 30)
    )
    line = probe(data).timeline
    assert (line.num_frames, line.num_joins, line.frame_rate_fps) == (60, 1, 25.0)
    (clip,) = decode(data, whole_clip(60))
    assert numbers(clip) == list(range(60))


def test_a_counter_that_wraps_is_no_new_clock() -> None:
    wrap_s = Fraction(2**33, 90_000)
    file = io.BytesIO()
    film = encode_clip(60, container="matroska", options={"bf": "0", "g": "20"})
    with av.open(io.BytesIO(film)) as source, av.open(file, "w", format="mpegts") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream, packet.time_base = stream, Fraction(1, 90_000)
                packet.pts = packet.dts = round((wrap_s - 3) * 90_000) + packet.pts * 90
                output.mux(packet)
    line = probe(file.getvalue()).timeline
    assert (line.num_frames, line.num_joins, line.num_mended) == (60, 0, 0)
    (clip,) = decode(file.getvalue(), whole_clip(60))
    assert numbers(clip) == list(range(60))


def without_showing(packet: bytes) -> bytes:
    """Return a VP8 frame as one that is only referred to; source: RFC 6386, 9.1."""
    return bytes([packet[0] & ~0x10]) + packet[1:]


def packets_of(data: bytes) -> list[bytes]:
    with av.open(io.BytesIO(data)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_hidden_references_neither_count_nor_shift() -> None:
    data = encode_clip(40, container="webm", codec="libvpx", options={"g": "100"})
    packets = packets_of(data)
    hidden = {number: without_showing(packets[number]) for number in (1, 7, 20)}
    changed = remuxed(data, container="webm", replaced=hidden)
    assert probe(changed).timeline.num_frames == 37
    clips = decode(changed, *(whole_clip(3, start_s=number / 25) for number in (5, 19, 37)))
    # Of a time whose picture is hidden the one before stays.
    assert [numbers(clip) for clip in clips] == [[5, 6, 6], [19, 19, 21], [37, 38, 39]]


@pytest.mark.parametrize("container", ["avi", "matroska"])
def test_not_coded_packets_repeat_the_picture_before(container: str) -> None:
    still, count = {5, 6, 7, 20, 21, 33}, 40
    empty = {}
    for number in still:
        bits = "0101" + format(number % 25, "05b") + "100" + "1111"
        empty[number] = b"\0\0\1\xb6" + int(bits, 2).to_bytes(2, "big")
    # Pictures after a repeated one refer to the drawn one before it: intra pictures do not care.
    data = encode_clip(count, container="avi", codec="mpeg4", options={"g": "1", "qscale": "2"})
    data = remuxed(data, container=container, replaced=empty)
    line = probe(data).timeline
    assert (line.num_frames, line.frame_rate_fps) == (count - len(still), 25.0)
    clips = decode(data, *(whole_clip(5, start_s=number / 25) for number in (4, 18, 35)))
    assert [numbers(clip) for clip in clips] == [
        [4, 4, 4, 4, 8],
        [18, 19, 19, 19, 22],
        [35, 36, 37, 38, 39],
    ]


def field_film(container: str) -> bytes:
    """Return 20 frames, each of two packets of one field; half a frame lies between them."""
    units = field_coded_h264([40 + 4 * k for k in range(20)]).split(b"\0\0\0\1")[1:]
    file, waiting, count = io.BytesIO(), b"", 0
    raw = io.BytesIO(b"".join(b"\0\0\0\1" + unit for unit in units))
    with av.open(raw, format="h264") as source, av.open(file, "w", format=container) as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for unit in units:
            waiting += b"\0\0\0\1" + unit
            if unit[0] & 31 in (1, 5):
                packet = av.Packet(waiting)
                packet.stream, packet.time_base = stream, Fraction(1, 1000)
                packet.pts = packet.dts = 20 * count
                packet.is_keyframe = count == 0
                output.mux(packet)
                waiting, count = b"", count + 1
    return file.getvalue()


@pytest.mark.parametrize("container", ["mpegts", "matroska", "h264"])
def test_two_field_packets_are_one_frame_seen_by_its_first_field(container: str) -> None:
    data = field_film(container)
    line = probe(data).timeline
    assert line.num_frames == 20
    if container != "h264":  # which has no times
        assert line.frame_rate_fps == 25.0
    fps = line.frame_rate_fps
    request = whole_clip(9, start_s=8 / fps, fps=fps, source_px=(32, 32), size_px=(32, 32))
    (clip,) = decode(data, request)
    assert not isinstance(clip, MediaError), clip
    levels = [40 + 4 * k for k in range(8, 17)]
    expected = [(level - 16) * 255 / 219 for level in levels]  # limited range; their own is even
    found = clip.reshape(9, -1).mean(axis=1)
    assert np.abs(found - expected).max() < 1.0


EVEN_GROUPS = "keyint=24:min-keyint=24:scenecut=0"


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"bf": "2", "g": "24", "sc_threshold": "0"}),
        ("mpeg2video", {"bf": "2", "g": "12"}),
        (
            "libx265",
            {"x265-params": "keyint=24:min-keyint=24:open-gop=1:scenecut=0:log-level=none"},
        ),
    ],
)
def test_a_capture_that_begins_inside_a_group_begins_at_its_first_whole_frame(
    codec: str, options: dict[str, str]
) -> None:
    data = encode_clip(60, container="mpegts", codec=codec, options=options)
    with av.open(io.BytesIO(data)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    cut = data[: 188 * 3] + data[starts[9] :]
    line = probe(cut).timeline
    first = 60 - line.num_frames
    assert first in (12, 24)
    assert line.num_lost > 0
    clips = decode(cut, whole_clip(5), whole_clip(5, start_s=(line.num_frames - 5) / 25))
    assert numbers(clips[0]) == list(range(first, first + 5))
    assert numbers(clips[1]) == [55, 56, 57, 58, 59]


def test_leading_pictures_of_an_open_group_are_lost_and_counted() -> None:
    options = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=12:min-keyint=12:scenecut=0"}
    film = encode_clip(48, container="matroska", options=options)
    with av.open(io.BytesIO(film)) as container:
        keys = [
            number
            for number, packet in enumerate(each for each in container.demux(video=0) if each.size)
            if packet.is_keyframe
        ]
    data = remuxed(film, skip=keys[1])
    line = probe(data).timeline
    assert line.num_lost > 0
    (clip,) = decode(data, whole_clip(line.num_frames))
    assert numbers(clip) == list(range(48 - line.num_frames, 48))


def test_a_file_of_even_times_names_its_frames_by_them(plain: bytes) -> None:
    line = probe(plain).timeline
    assert line.pictures.naming is Naming.TIME
    assert (line.num_lost, line.num_mended, line.num_joins) == (0, 0, 0)


def test_a_capture_joined_in_mid_group_goes_on_at_its_first_whole_frame() -> None:
    options = {"bf": "2", "g": "24", "sc_threshold": "0"}
    data = encode_clip(60, container="mpegts", options=options)
    with av.open(io.BytesIO(data)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    line = probe(data + data[starts[12] :]).timeline
    assert line.num_joins == 1
    assert line.num_lost > 0
    assert line.num_frames + line.num_lost == 60 + 48
    first, last = decode(
        data + data[starts[12] :],
        whole_clip(60),
        whole_clip(20, start_s=line.time_s(line.num_frames - 20)),
    )
    assert numbers(first) == list(range(60))
    assert numbers(last) == list(range(40, 60))


def test_a_stream_renewed_bit_by_bit_begins_where_it_is_whole() -> None:
    options = {"x264-params": "intra-refresh=1:bframes=0:keyint=20"}
    data = encode_clip(60, container="mpegts", options=options)
    with av.open(io.BytesIO(data)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    cut = data[: 188 * 3] + data[starts[7] :]
    line = probe(cut).timeline
    assert 0 < line.num_frames < 53
    (clip,) = decode(cut, whole_clip(line.num_frames))
    assert numbers(clip) == list(range(60 - line.num_frames, 60))
