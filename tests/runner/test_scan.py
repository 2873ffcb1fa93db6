"""What a scan says of a file does not depend on what else is in its chunk."""

from pathlib import Path

import pytest

from latentcache.core.media import SourceRef
from latentcache.decode import ImageLimits
from latentcache.plan import ClipRules, ListedMedia
from latentcache.runner.scan import ScanSettings, probe_media
from latentcache.storage import Folder
from tests.decode.clips import encode_clip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of different lengths and sizes, and a file that is none."""
    folder = tmp_path_factory.mktemp("scanned")
    (folder / "a.mp4").write_bytes(encode_clip(50, size_px=(64, 64)))
    (folder / "b.mp4").write_bytes(encode_clip(30, size_px=(128, 64)))
    (folder / "page.mp4").write_text("<html>not found</html>")
    return folder


def test_windows_of_one_video_are_told_as_each_is_alone(corpus: Path) -> None:
    settings = ScanSettings(
        corpus=Folder.open(str(corpus)),
        limits=ImageLimits(),
        time_limit_s=30.0,
        clips=ClipRules(frames=(5,)),
    )
    rows = [("a", 0.0), ("a", 1.0), ("page", 0.0), ("a", 1.7), ("b", 0.5), ("b", 1.7), ("a", 0.2)]
    windows = [
        ListedMedia(source=SourceRef(path=f"{name}.mp4"), start_s=start_s) for name, start_s in rows
    ]
    together = probe_media(settings, windows)
    assert together == [probe_media(settings, [each])[0] for each in windows]
    codes = [file.samples[0].reject.code if file.samples[0].reject else "" for file in together]
    # The second video lasts 1.2 s; of the first, 0.3 s are left at 1.7 s.
    assert codes == ["", "", "not_media", "", "", "bad_record", ""]


def test_every_refused_window_of_a_film_has_a_key_and_a_reason_of_its_own(corpus: Path) -> None:
    settings = ScanSettings(
        corpus=Folder.open(str(corpus)),
        limits=ImageLimits(),
        time_limit_s=30.0,
        clips=ClipRules(frames=(5,)),
    )
    rows = [
        ("a", 3.0, 4.0),
        ("a", 5.0, None),
        ("a", 1.0, 1.1),
        ("page", 0.0, 1.0),
        ("page", 1.0, 2.0),
    ]
    windows = [
        ListedMedia(source=SourceRef(path=f"{name}.mp4"), start_s=start_s, end_s=end_s)
        for name, start_s, end_s in rows
    ]
    refused = [file.samples[0] for file in probe_media(settings, windows)]
    reasons = [each.reject.reason for each in refused if each.reject]
    assert reasons[:3] == [
        "the window from 3 to 4 s is not within the video's 2.000 s",
        "the window from 5 to 2 s is not within the video's 2.000 s",
        "the video has 3 frames at the clips' rate, the shortest clip 5",
    ]
    assert len({each.key for each in refused}) == len(reasons) == 5


@pytest.mark.parametrize("skips", [False, True])
def test_a_clip_that_stands_still_is_counted_and_left_out_by_option(
    tmp_path: Path, skips: bool
) -> None:
    (tmp_path / "slow.mp4").write_bytes(encode_clip(times_ticks=[1200 * k for k in range(12)]))
    pause = [24 * k + (6000 if k >= 20 else 0) for k in range(40)]
    (tmp_path / "pause.mp4").write_bytes(encode_clip(times_ticks=pause))
    (tmp_path / "even.mp4").write_bytes(encode_clip(40))
    settings = ScanSettings(
        corpus=Folder.open(str(tmp_path)),
        limits=ImageLimits(),
        time_limit_s=30.0,
        clips=ClipRules(frames=(9,), frame_rate_fps=16.0, policy="uniform:3"),
        skip_still=skips,
    )
    names = ("slow", "pause", "even")
    media = [ListedMedia(source=SourceRef(path=f"{name}.mp4")) for name in names]
    files = probe_media(settings, media)
    found = [each.video.findings["clip_stands_still"] if each.video else -1 for each in files]
    assert found == [3, 1, 0]
    taken = [sum(each.reject is None for each in file.samples) for file in files]
    assert taken == ([0, 2, 2] if skips else [3, 3, 2])
    codes = {each.reject.code for file in files for each in file.samples if each.reject}
    assert codes == ({"stands_still"} if skips else set())
    assert len({each.key for file in files for each in file.samples}) == 8
