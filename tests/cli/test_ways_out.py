"""What a command says when there is nothing to do names what would help."""

from pathlib import Path

import pytest

from latentcache.plan.known_files import Change
from latentcache.plan.what_changed import CorpusChanges
from latentcache.store import Store
from latentcache.testing.drawn import write_drawn_corpus
from tests.cli.conftest import Cli
from tests.decode.clips import encode_clip


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Three pictures and a clip."""
    write_drawn_corpus(tmp_path / "mixed", 3, size_px=64)
    (tmp_path / "mixed" / "clip.mp4").write_bytes(encode_clip(9, size_px=(64, 64)))
    return tmp_path / "mixed"


def test_an_estimate_of_clips_alone_without_frames_names_frames_and_shows_no_table(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "one.mp4").write_bytes(encode_clip(9, size_px=(64, 64)))
    done = cli("plan", tmp_path / "clips", "--estimate", "--resolution", 64)
    assert done.code == 3
    assert "--frames N takes clips of videos" in done.out
    assert "all fit" not in done.out
    assert "a plan must hold samples, got 0 of 1" in done.err


def test_refused_samples_are_counted_beside_the_planned_ones(cli: Cli, mixed: Path) -> None:
    done = cli("plan", mixed, mixed.parent / "store", "--resolution", 64)
    assert "planned: 3 samples in 1 bucket, 1 shard, and 1 refused" in done.out
    assert "--frames N takes clips of videos" in done.out


def test_a_store_that_is_not_there_is_wrong_usage_as_a_corpus_is(cli: Cli, tmp_path: Path) -> None:
    assert cli("status", tmp_path / "nowhere").code == 2
    assert cli("plan", tmp_path / "nowhere", tmp_path / "store").code == 2


def test_a_swap_without_anything_new_is_refused(cli: Cli, drawn_store: Store) -> None:
    done = cli("swap", drawn_store.folder.url)
    assert done.code == 2
    assert "give --encoder" in done.err


def test_a_misspelt_file_is_shown_with_the_nearest_one(cli: Cli, drawn_store: Store) -> None:
    rows = drawn_store.read_rows(
        drawn_store.units(drawn_store.snapshot().column("latents").record)[0], ["path"]
    )
    path = rows["path"][0].as_py()
    done = cli("show", drawn_store.folder.url, f"x{Path(path).name}")
    assert done.code == 1
    assert "did you mean" in done.err
    other = cli("show", drawn_store.folder.url, "zzzz")
    assert "for instance" in other.err


def test_one_change_is_told_in_the_singular() -> None:
    one = CorpusChanges(added=Change(count=1, example="a.png"))
    two = CorpusChanges(added=Change(count=2, example="a.png"))
    assert "got 1 file added (e.g. a.png)" in one.sentence
    assert "got 2 files added (e.g. a.png)" in two.sentence
