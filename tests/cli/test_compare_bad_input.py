"""What cannot be compared is one sentence, and the other sections are still made."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentcache.store import Store
from latentcache.testing.drawn_motion import write_drawn_motion
from tests.cli.conftest import Cli
from tests.evaluate.drawn_store import NUM_GOOD, encode_unit, pin_encoding, publish

FLAGS = ("--resolution", 128, "--device", "cpu", "--actors", 1)
ODD = "tests.cli.odd_encoders"


def build(cli: Cli, corpus: Path, store: str, *flags: object) -> str:
    url = corpus.parent / store
    told = cli("build", corpus, url, *FLAGS, *flags)
    assert told.code == 0, told.err
    return str(url)


def wide_pictures(folder: Path, count: int, *, seed: int = 0, stem: str = "") -> Path:
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        small = random.integers(0, 256, (6, 12, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((192, 96), Image.Resampling.BICUBIC)
        picture.save(folder / f"{stem}{number:03d}.png")
    return folder


def compared(cli: Cli, store: object, *spaces: object, page: Path | None = None) -> Any:
    """Return the JSON of a comparison that went well and left no traceback."""
    html = () if page is None else ("--html", page)
    told = cli("compare", store, *spaces, "--no-probe", "--json", *html)
    assert told.code == 0, told.err
    assert "Traceback" not in told.err
    return told.json


def figures(found: Any, section: str) -> dict[str, set[str]]:
    """Return by figure the spaces that have it."""
    return {
        each["name"]: {name for name, one in each["spaces"].items() if one["value"] is not None}
        for each in found["figures"]
        if each["section"] == section
    }


def said(found: Any, section: str, space: str | None = None) -> list[str]:
    return [
        each["note"]
        for each in found["notes"]
        if each["section"] == section and space in (None, each["space"])
    ]


def with_column(store: Store, encoder: str, column: str) -> None:
    record = pin_encoding(store, encoder, column)
    for unit in store.units(record):
        encode_unit(store, record, unit)
    publish(store, record)


def test_stores_of_other_samples_are_refused_in_a_sentence(cli: Cli, tmp_path: Path) -> None:
    one = build(cli, wide_pictures(tmp_path / "one", 4), "s1")
    two = build(cli, wide_pictures(tmp_path / "two", 4, stem="other_"), "s2")
    told = cli("compare", one, "latents", two, "--no-probe")
    assert told.code == 1
    (line,) = [each for each in told.err.splitlines() if each.startswith("error:")]
    assert "spaces must hold the same samples" in line
    assert "none of 4 drawn of latents" in line
    assert "Traceback" not in told.err


def test_samples_of_other_crops_have_no_pixel_errors_and_all_else(cli: Cli, tmp_path: Path) -> None:
    corpus = wide_pictures(tmp_path / "wide", 12)
    whole, square = build(cli, corpus, "whole"), build(cli, corpus, "square", "--square")
    found = compared(cli, whole, "latents", square)
    assert "psnr_db" not in figures(found, "fidelity")
    (sentence,) = [each for each in said(found, "fidelity") if "other pixels" in each]
    assert sentence.startswith("12 of 12 samples were cut or decoded to other pixels")
    both = {"latents", square}
    assert figures(found, "modelability")["spectrum_slope"] == both
    assert figures(found, "cost")["bytes_per_sample"] == both


def test_clips_of_other_frame_counts_are_other_samples_and_it_is_said(
    cli: Cli, tmp_path: Path
) -> None:
    write_drawn_motion(tmp_path / "clips", 3, size_px=32)
    flags = ("--encoder", "dct-video", "--resolution", 32, "--square", "--frames")
    short, long = (
        build(cli, tmp_path / "clips", f"of_{count}", *flags, count) for count in (9, 17)
    )
    told = cli("compare", short, "latents", long, "--no-probe")
    assert told.code == 1
    assert "clips of other frames are other samples" in told.err
    assert "Traceback" not in told.err


def test_a_column_without_a_decoder_costs_its_fidelity_alone(cli: Cli, own_store: Store) -> None:
    with_column(own_store, f"{ODD}:NoDecoder", "mute")
    found = compared(cli, own_store.folder.url, "latents", "mute")
    assert figures(found, "fidelity")["psnr_db"] == {"latents"}
    (sentence,) = said(found, "fidelity", "mute")
    assert "decode" in sentence
    assert f"({NUM_GOOD} of {NUM_GOOD} samples)" in sentence
    assert figures(found, "modelability")["spectrum_slope"] == {"latents", "mute"}


def test_a_decoder_that_gives_nan_costs_its_fidelity_alone(
    cli: Cli, own_store: Store, tmp_path: Path
) -> None:
    with_column(own_store, f"{ODD}:NanDecoder", "nan")
    page = tmp_path / "page.html"
    found = compared(cli, own_store.folder.url, "latents", "nan", page=page)
    assert figures(found, "fidelity")["psnr_db"] == {"latents"}
    (sentence,) = said(found, "fidelity", "nan")
    assert "decoded pixels must be finite" in sentence
    assert figures(found, "modelability")["spectrum_slope"] == {"latents", "nan"}
    assert "decoded pixels must be finite" in page.read_text()


def test_three_samples_are_compared_and_warned_of(cli: Cli, tmp_path: Path) -> None:
    store = build(cli, wide_pictures(tmp_path / "few", 3), "few_store")
    found = compared(cli, store, "latents", page=tmp_path / "page.html")
    assert found["samples"] == 3
    assert any("3 samples say little" in each for each in said(found, "samples"))
    assert figures(found, "fidelity")["psnr_db"] == {"latents"}


def test_one_class_has_no_semantics_and_all_else(cli: Cli, tmp_path: Path) -> None:
    wide_pictures(tmp_path / "photos" / "cat", 12)
    store = build(cli, tmp_path / "photos", "cats")
    found = compared(cli, store, "latents")
    (sentence,) = said(found, "semantics", "latents")
    assert "labels must be of two classes or more" in sentence
    assert "got 1 over 12 labelled samples" in sentence
    assert figures(found, "semantics") == {}
    assert figures(found, "fidelity")["psnr_db"] == {"latents"}


def test_black_pictures_have_no_spectrum_and_no_traceback(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "black"
    folder.mkdir()
    for number in range(10):
        Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(folder / f"{number}.png")
    store = build(cli, folder, "dark")
    found = compared(cli, store, "latents", page=tmp_path / "page.html")
    assert figures(found, "fidelity")["psnr_db"] == {"latents"}
    assert figures(found, "modelability")["spectrum_slope"] == set()
    (sentence,) = said(found, "modelability", "latents")
    assert "hold one value" in sentence


@pytest.mark.parametrize("column", ["nothing", "latents@9"])
def test_what_is_not_there_is_named(cli: Cli, drawn_store: Store, column: str) -> None:
    told = cli("compare", drawn_store.folder.url, "latents", column)
    assert told.code == 1
    assert len([each for each in told.err.splitlines() if each.startswith("error:")]) == 1
    assert "Traceback" not in told.err
