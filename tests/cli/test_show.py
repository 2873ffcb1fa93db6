from pathlib import Path

import pytest
from PIL import Image

from latentcache.store import Store
from tests.cli.conftest import Cli
from tests.evaluate.drawn_store import NUM_GOOD


def test_a_sample_is_drawn_beside_its_reconstruction(
    cli: Cli, drawn_store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    done = cli("show", drawn_store.folder.url, "000000.jpg", "-o", out, "--device", "cpu")
    assert done.code == 0, done.err
    key, bucket = done.out.split()[1:3]
    assert len(key) == 20
    width_px, height_px = (int(part) for part in bucket.split("x"))
    with Image.open(out) as image:
        assert image.width >= 2 * width_px
        assert image.height > height_px
    again = cli(
        "show", drawn_store.folder.url, key, "-o", tmp_path / "again.png", "--device", "cpu"
    )
    assert again.code == 0
    assert (tmp_path / "again.png").read_bytes() == out.read_bytes()


def test_a_quarantined_sample_is_explained(cli: Cli, drawn_store: Store, tmp_path: Path) -> None:
    done = cli("show", drawn_store.folder.url, "broken_000_cut_short.jpg", "-o", tmp_path / "x.png")
    assert done.code == 1
    assert "in quarantine (decode:" in done.err
    assert not (tmp_path / "x.png").exists()


def test_a_source_that_is_gone_is_one_sentence(
    cli: Cli, drawn_store: Store, tmp_path: Path
) -> None:
    url = drawn_store.folder.url
    done = cli("show", url, "000000.jpg", "-o", tmp_path / "x.png", "--corpus", tmp_path)
    assert done.code == 1
    assert "say where the corpus is now with --corpus" in done.err


def test_an_output_that_cannot_be_written_is_one_sentence(
    cli: Cli, drawn_store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "nowhere" / "x.png"
    done = cli("show", drawn_store.folder.url, "000000.jpg", "-o", out, "--device", "cpu")
    assert done.code == 1
    assert done.err == f"error: no such file or directory: {out}\n"


@pytest.mark.parametrize("name", ["x.jpg", "x", "x.mp4.txt"])
def test_another_suffix_is_refused_before_anything_is_opened(
    cli: Cli, tmp_path: Path, name: str
) -> None:
    done = cli("show", tmp_path / "no store", "key", "-o", tmp_path / name)
    assert done.code == 2
    assert done.err.startswith("error: output must end in .png or .mp4, got ")
    assert done.err.count("\n") == 1


def test_a_picture_is_no_video(cli: Cli, drawn_store: Store, tmp_path: Path) -> None:
    out = tmp_path / "x.mp4"
    done = cli("show", drawn_store.folder.url, "000000.jpg", "-o", out, "--device", "cpu")
    assert done.code == 2
    first, told = done.err.splitlines()
    assert first == "opening the store and its encoder"
    assert told.startswith("error: output must be a .png for a picture, got ")
    assert not out.exists()


def test_without_a_key_samples_are_drawn_at_random(
    cli: Cli, drawn_store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "some.png"
    done = cli("show", drawn_store.folder.url, "-o", out, "--device", "cpu")
    assert done.code == 0, done.err
    assert f"{NUM_GOOD} samples of latents" in done.out
    with Image.open(out) as image:
        assert image.width > 1000
        assert image.height > NUM_GOOD / 2 * 168
    assert cli("show", drawn_store.folder.url, "-o", tmp_path / "x.mp4").code == 2


def test_a_sample_is_found_by_where_its_file_lies(
    cli: Cli, drawn_store: Store, tmp_path: Path
) -> None:
    (generation,) = drawn_store.generations()
    place = f"{generation.corpus_url}/000000.jpg"
    out = tmp_path / "x.png"
    assert cli("show", drawn_store.folder.url, place, "-o", out, "--device", "cpu").code == 0
    done = cli("show", drawn_store.folder.url, "elsewhere/no.jpg", "-o", out)
    assert done.code == 1
    assert "key must be one of the plan's" in done.err


def test_a_report_shows_the_user_s_own_store(cli: Cli, drawn_store: Store, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = cli("report", drawn_store.folder.url, "-o", out, "--samples", 4, "--device", "cpu")
    assert done.code == 0, done.err
    page = out.read_text(encoding="utf-8")
    assert page.count("data:image/png") == 12
    for heading in ("Samples", "The sum that adds up", "Buckets", "Spaces side by side"):
        assert page.count(f">{heading}<") == 2  # in the contents, and where it stands
    assert "1 decode: truncated, for instance broken_000_cut_short.jpg" in page
    assert "built-in method" not in page


def test_a_report_is_drawn_where_the_corpus_is_gone(
    cli: Cli, drawn_store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    done = cli("report", drawn_store.folder.url, "-o", out, "--corpus", tmp_path, "--device", "cpu")
    assert done.code == 0
    assert done.err.count("not drawn:") == 4
    assert "more sources could not be had" in done.err.splitlines()[-1]
    assert "sources could not be had" in out.read_text(encoding="utf-8")
