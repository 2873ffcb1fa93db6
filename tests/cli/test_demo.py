"""The demo: it empties its own folder only, and its kill test compares files."""

import json
from pathlib import Path

import pytest

from latentcache.cli.demo import DemoFolder, run_demo
from latentcache.cli.demo_kill import Build, kill_in_the_middle
from latentcache.core.errors import ConfigError, RunError


def test_folder_of_an_earlier_demo_is_emptied(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path / "out")
    folder.prepare()
    (folder.root / "corpus").mkdir()
    (folder.root / "corpus" / "old.jpg").write_bytes(b"old")
    folder.prepare()
    assert [path.name for path in folder.root.iterdir()] == [".latentcache-demo"]


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    photo = tmp_path / "holiday.jpg"
    photo.write_bytes(b"photo")
    with pytest.raises(ConfigError, match="name another folder"):
        run_demo(tmp_path)
    assert photo.read_bytes() == b"photo"
    with pytest.raises(ConfigError, match="must be a folder"):
        run_demo(photo)


def test_links_in_the_folder_are_removed_and_not_followed(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"photo")
    folder = DemoFolder(tmp_path / "out")
    folder.prepare()
    (folder.root / "corpus").symlink_to(photos)
    folder.prepare()
    assert (photos / "holiday.jpg").exists()
    assert not (folder.root / "corpus").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_demo_runs_twice_and_leaves_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (tmp_path / "out").mkdir()
    (out / ".latentcache-demo").write_text("")
    (out / "index.html").write_text("of the run before")
    run_demo(out, num_images=120)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["planned"] == 123
    assert (summary["encoded"], summary["quarantined"], summary["missing"]) == (120, 3, 0)
    assert 0 < summary["units_committed_at_kill"] < summary["units"]
    assert summary["units_equal_after_kill"] == summary["units"]
    assert summary["psnr_db"]["mean"] > 30
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "120</b> <small>encoded" in page
    assert (out / "sheet.png").stat().st_size > 10_000
    told = capsys.readouterr().out
    assert str(out / "index.html") in told


def test_build_that_ends_before_it_is_killed_is_an_error(tmp_path: Path) -> None:
    build = Build(arguments=["--version"], store=tmp_path / "store", log=tmp_path / "log")
    with pytest.raises(RunError, match="must run until it is killed"):
        kill_in_the_middle(build, num_commits=1)
    assert "latentcache" in build.log.read_text()


def test_build_that_fails_points_to_its_log(tmp_path: Path) -> None:
    build = Build(arguments=["no-such-command"], store=tmp_path / "store", log=tmp_path / "log")
    with pytest.raises(RunError, match="exit code 2"):
        build.finish()
    assert "no-such-command" in build.log.read_text()
