"""Videos in a corpus: each clip's latents are of its own frames, whatever else lies there."""

import json
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from latentcache.cli.entry import run
from latentcache.encoders import DecodingEncoder, EncoderOptions, load_encoder
from latentcache.evaluate import fidelity, measure_fidelity, reconstruct
from latentcache.evaluate.planned import find_sample, read_pixels
from latentcache.evaluate.recorded import decode_fields
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    EncodeResult,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
    estimate,
)
from latentcache.store import Store, verify_snapshot
from latentcache.store.format import END_OF_ARCHIVE
from latentcache.testing.drawn import write_drawn_corpus
from tests.decode.clips import encode_clip, read_number

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LENGTHS = {"short.mp4": 3, "one.mp4": 9, "two.mkv": 30, "three.avi": 60, "four.webm": 40}
OPTIONS = PlanOptions(resolution_px=64, frames=(5, 9), clips="uniform:3", rows_per_shard=4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos of numbered frames, three pictures, a video cut short and a text."""
    folder = tmp_path_factory.mktemp("videos")
    write_drawn_corpus(folder / "pictures", 3, size_px=64)
    containers = {".mp4": "mp4", ".mkv": "matroska", ".avi": "avi", ".webm": "webm"}
    codecs = {".avi": "mpeg4", ".webm": "libvpx-vp9"}
    for name, length in LENGTHS.items():
        suffix = Path(name).suffix
        data = encode_clip(
            length,
            container=containers[suffix],
            codec=codecs.get(suffix, "libx264"),
            options={"g": "12"},
            size_px=(64, 64),
        )
        (folder / name).write_bytes(data)
        (folder / name).with_suffix(".txt").write_text(f"a clip of {name}\n")
    (folder / "cut.mp4").write_bytes(encode_clip(30, size_px=(64, 64))[:-200])
    (folder / "page.mp4").write_text("<html>not found</html>")
    return folder


@pytest.fixture(scope="module")
def built(
    corpus: Path, local_ray: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, EncodeResult]:
    store = tmp_path_factory.mktemp("store") / "store"
    resources = Resources(num_actors=1)
    _, result = build(
        str(store),
        PlanRequest(corpus_url=str(corpus), options=OPTIONS, resources=resources),
        EncodeRequest(
            column="latents", encode=EncodeOptions(encoder="dct-video"), resources=resources
        ),
        reporter=SilentReporter(),
    )
    return store, result


def test_every_clip_and_file_ends_encoded_or_quarantined(built: tuple[Path, EncodeResult]) -> None:
    store, result = built
    snapshot = Store.open(store).snapshot()
    totals = snapshot.generations[0].totals
    # 9 frames: one clip; 30, 60 and 40: three each. Three pictures; three files refused.
    assert (result.planned, result.encoded, result.quarantined) == (16, 13, 3)
    assert totals["videos"] == {
        "num_videos": 4, "num_clips": 10, "num_frames": 139, "num_left_out": 139 - 10 * 9,
    }  # fmt: skip
    codes = {
        row["path"]: row["code"] for row in snapshot.column("latents").quarantine().to_pylist()
    }
    assert codes == {"short.mp4": "too_short", "cut.mp4": "truncated", "page.mp4": "not_media"}
    assert verify_snapshot(snapshot).ok


def test_the_latents_of_a_clip_decode_to_its_own_frames(built: tuple[Path, EncodeResult]) -> None:
    store = Store.open(built[0])
    snapshot = store.snapshot()
    view = snapshot.column("latents")
    encoder = load_encoder("dct-video", EncoderOptions())
    planned = {
        row["key"]: row
        for unit in store.units(view.record)
        for row in store.read_rows(unit).to_pylist()
    }
    captions = snapshot.annotation("caption", 0)
    seen = []
    for key, _, _, fields in view.iter_samples():
        row = planned[key]
        if row["start_s"] is None:
            continue
        first = round(row["start_s"] * 25)
        # The encoder blurs over time all frames but the first.
        assert read_number(decode_fields(encoder, fields)[0]) == first
        pixels = read_pixels(find_sample(view, key), view.record)
        assert [read_number(frame) for frame in pixels] == list(range(first, first + 9))
        assert row["end_s"] - row["start_s"] == pytest.approx(9 / row["frame_rate_fps"])
        place = (np.array([row["shard"]]), np.array([row["row"]]))
        assert captions is not None
        assert captions.take(*place).to_pylist() == [f"a clip of {row['path']}"]
        seen.append((row["path"], first))
    assert sorted(seen) == sorted(
        [
            ("one.mp4", 0),
            *(("two.mkv", first) for first in (0, 10, 21)),
            *(("three.avi", first) for first in (0, 25, 51)),
            *(("four.webm", first) for first in (0, 15, 31)),
        ]
    )


def test_clips_of_a_video_stay_together(built: tuple[Path, EncodeResult]) -> None:
    store = Store.open(built[0])
    record = store.snapshot().column("latents").record
    rows = [row for unit in store.units(record) for row in store.read_rows(unit).to_pylist()]
    paths = [row["path"] for row in rows if row["start_s"] is not None]
    assert len(set(paths)) == 1 + sum(a != b for a, b in pairwise(paths))


def test_decoded_clips_are_compared_with_their_frames(built: tuple[Path, EncodeResult]) -> None:
    view = Store.open(built[0]).snapshot().column("latents")
    report = measure_fidelity(view, load_encoder("dct-video", EncoderOptions()), 13)
    assert len(report.psnr_db) == 13
    assert report.min_db is not None
    assert report.min_db > 20


def test_of_a_long_clip_the_first_frames_are_those_of_the_whole(
    built: tuple[Path, EncodeResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = Store.open(built[0]).snapshot().column("latents")
    encoder = load_encoder("dct-video", EncoderOptions())
    assert isinstance(encoder, DecodingEncoder)
    sample = find_sample(view, "three.avi")
    whole = reconstruct(view, sample, encoder)
    monkeypatch.setattr(fidelity, "MAX_COMPARED_BYTES", 8 * 3 * 64 * 64)
    part = reconstruct(view, sample, encoder)
    assert [len(each) for each in part] == [5, 5]  # the most of 4k + 1 within 8
    assert all(np.array_equal(some, all_[:5]) for some, all_ in zip(part, whole, strict=True))


def test_an_estimate_of_clips_has_the_bytes_of_their_build(
    corpus: Path, built: tuple[Path, EncodeResult]
) -> None:
    found = estimate(
        PlanRequest(corpus_url=str(corpus), options=OPTIONS, resources=Resources(num_actors=1)),
        EncodeOptions(encoder="dct-video"),
        reporter=SilentReporter(),
    )
    costs = {each.name: each for each in found.encoders}
    tars = list(built[0].rglob("*.tar"))
    real = sum(path.stat().st_size for path in tars)
    assert real == costs["dct-video"].bytes + len(END_OF_ARCHIVE) * len(tars)
    assert costs["dct-video"].refused == ()
    assert costs["dct"].refused == ("9x64x64",)
    assert costs["dct"].hours is None
    measured = found.calibration
    assert measured is not None
    assert str(measured.bucket) == "9x64x64"
    assert measured.picture_decode_s is not None
    assert measured.frame_decode_s is not None
    clips, pictures = 10 * 9 * measured.frame_decode_s, 3 * measured.picture_decode_s
    pixels_s = (10 + 3 / 9) * measured.encode_s
    expected_s = (clips + pictures + pixels_s) / measured.num_cpus
    assert costs["dct-video"].hours == pytest.approx(expected_s / 3600)


def test_a_clip_is_shown_as_a_sheet_and_as_a_video(
    built: tuple[Path, EncodeResult], tmp_path: Path
) -> None:
    sheet, video = tmp_path / "clip.png", tmp_path / "clip.mp4"
    for out in (sheet, video):
        assert run(["show", str(built[0]), "three.avi", "-o", str(out), "--device", "cpu"]) == 0
    with Image.open(sheet) as image:
        assert image.width >= 9 * 64
        assert image.height > 2 * 64
    with av.open(str(video)) as played:
        stream = played.streams.video[0]
        assert stream.average_rate == 25
        shown = [frame.to_ndarray(format="rgb24") for frame in played.decode(stream)]
    left = (shown[0].shape[1] - 64) // 2
    assert [read_number(each[:64, left : left + 64]) for each in shown] == list(range(9))
    # The encoder blurs over time all frames but the first.
    assert read_number(shown[0][68:132, left : left + 64]) == 0


def test_the_first_frame_of_clips_is_compared_apart(
    built: tuple[Path, EncodeResult], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(built[0]), "--decode", "13", "--device", "cpu", "--json"]) == 0
    psnr = json.loads(capsys.readouterr().out)["psnr_db"]
    clips = psnr["rest"]["samples"]
    assert len(psnr["samples"]) == 13
    assert len(clips) == len(psnr["first_frame"]["samples"]) == 10
    for key, rest in clips.items():
        first = psnr["first_frame"]["samples"][key]
        # Errors add up over frames, 8 of the 9 of the rest; none at all counts as 100 dB.
        errors = [10 ** (-each / 10) for each in (first, rest, psnr["samples"][key])]
        assert (errors[0] + 8 * errors[1]) / 9 == pytest.approx(errors[2], rel=1e-3)
        assert first >= rest
    assert psnr["rest"]["mean"] == pytest.approx(sum(clips.values()) / 10)
    assert psnr["rest"]["min"] == min(clips.values())
    assert psnr["first_frame"]["mean"] > psnr["rest"]["mean"] > 20
    assert run(["verify", str(built[0]), "--decode", "13", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert f"of 10 clips: first frame mean {psnr['first_frame']['mean']:.2f} dB" in told
    assert told.count(", first frame ") == 10
