"""``latentcache compare`` as users type it."""

import json
from pathlib import Path

import pytest

from latentcache.cli.look.compare_progress import ComparisonProgress
from latentcache.compare import Step
from latentcache.store import Store
from tests.cli.conftest import Cli
from tests.evaluate.drawn_store import encode_unit, pin_encoding, publish


@pytest.fixture
def two_columns(own_store: Store) -> Store:
    record = pin_encoding(own_store, "dct:keep_luma=3,keep_chroma=1", "coarse")
    for unit in own_store.units(record):
        encode_unit(own_store, record, unit)
    publish(own_store, record)
    return own_store


def test_spaces_are_compared_kept_and_added_to(
    cli: Cli, two_columns: Store, tmp_path: Path
) -> None:
    url, keep, page = two_columns.folder.url, tmp_path / "kept", tmp_path / "page.html"
    told = cli("compare", url, "latents", "--no-probe", "--keep", keep, "--samples", 8)
    assert told.code == 0
    assert "PSNR, dB" in told.out
    assert "under 1 s on this machine: latents" in told.err
    assert told.err.splitlines()[-1] == "latents: 8/8 samples, under 1 s left"
    added = cli("compare", url, "--add", "coarse", "--keep", keep, "--html", page, "--json")
    found = added.json
    assert found["samples"] == 8
    assert [each["name"] for each in found["spaces"]] == ["latents", "coarse"]
    psnr = next(each for each in found["figures"] if each["name"] == "psnr_db")
    assert psnr["differences"][0]["verdict"] == "lower"
    assert f"{psnr['spaces']['latents']['value']:.4g} " in told.out
    assert page.read_text().startswith("<!doctype html>")
    kept = sorted(keep.glob("*.safetensors"))
    again = cli("compare", url, "--add", "coarse", "--keep", keep, "--json")
    assert json.dumps(again.json) == json.dumps(found)
    assert sorted(keep.glob("*.safetensors")) == kept


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param([], 2, "name the spaces to compare", id="none"),
        pytest.param(["latents", "latents"], 2, "named once each", id="twice"),
        pytest.param(["latents", "other"], 1, "column must be one of", id="unknown"),
        pytest.param(["--add", "latents"], 2, "pass --keep FOLDER", id="add-to-nothing"),
        pytest.param(["latents", "--encoder", "dct"], 2, "of which space", id="whose-encoder"),
        pytest.param(["latents", "--encoder", "b=dct"], 2, "must be of one of", id="no-such"),
        pytest.param(["latents", "--html", "/nowhere/page.html"], 1, "o such file", id="no-folder"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    cli: Cli, drawn_store: Store, arguments: list[str], code: int, said: str
) -> None:
    told = cli("compare", drawn_store.folder.url, *arguments)
    assert told.code == code
    assert said in told.err
    assert "Traceback" not in told.err


def test_a_folder_without_a_comparison_cannot_be_added_to(
    cli: Cli, drawn_store: Store, tmp_path: Path
) -> None:
    told = cli("compare", drawn_store.folder.url, "--add", "latents", "--keep", tmp_path)
    assert told.code == 2
    assert "there is none" in told.err


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_stop_is_one_sentence_that_says_what_was_kept(
    cli: Cli, two_columns: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    def stopped(_progress: ComparisonProgress, step: Step) -> None:
        if step.done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(ComparisonProgress, "step", stopped)
    kept = ["--keep", tmp_path / "kept"] if is_kept else []
    told = cli("compare", two_columns.folder.url, "latents", "--no-probe", *kept)
    assert told.code == 130
    said = "goes on from there" if is_kept else "nothing was kept; pass --keep"
    assert said in told.err.splitlines()[-1]
    assert "Traceback" not in told.err
    assert (tmp_path / "kept").exists() == is_kept
