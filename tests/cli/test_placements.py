"""Placements on the command line: what is told, and what is refused."""

import json
from pathlib import Path

from PIL import Image

from tests.cli.conftest import Cli


def test_samples_and_rows_are_told_apart(tmp_path: Path, cli: Cli) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    corpus.mkdir()
    for number in range(3):
        Image.new("RGB", (330, 170), (number, 0, 0)).save(corpus / f"{number}.png")
    first = cli("plan", corpus, store, "--resolution", "64", "--crops", 2)
    assert "planned: 6 rows of 3 samples in 1 bucket" in first.out
    larger = ("--resolution", "64,128", "--crops", 2, "--flip", "horizontal")
    refused = cli("plan", corpus, store, *larger)
    assert refused.code != 0
    assert "--update adds to it" in refused.err
    grown = cli("plan", corpus, store, "--update", *larger)
    assert grown.code == 0
    assert "placements: 18 rows for 3 samples that were planned before" in grown.err
    assert "planned: 24 live rows of 3 samples" in grown.out
    assert "planned: 24 rows of 3 samples" in cli("status", store).out
    found = json.loads(cli("status", store, "--json").out)
    assert (found["planned"], found["samples"]) == (24, 3)
    less = cli("plan", corpus, store, "--update", "--resolution", "128")
    assert "an update must keep the placements of the store's plan" in less.err
    assert cli("plan", corpus, store, "--update").code == 0
    kept = json.loads(cli("status", store, "--json").out)
    assert (kept["planned"], kept["samples"]) == (24, 3)


def test_bad_placements_are_refused_before_anything_is_listed(tmp_path: Path, cli: Cli) -> None:
    for flags, sentence in {
        ("--resolution", "512,512,512,1024"): "resolutions must differ, got 512 3 times",
        ("--crops", "0"): "crops must be from 1 to 9, got 0",
        ("--flip", "vertical"): "flip must be horizontal or nothing, got 'vertical'",
    }.items():
        refused = cli("plan", tmp_path / "nowhere", tmp_path / "store", *flags)
        assert refused.code != 0
        assert sentence in refused.err
