"""Several encodings in one store: each is counted in live samples, named and given up."""

from pathlib import Path

import diffusers
import pytest
from PIL import Image

from tests.cli.conftest import Cli
from tests.encoders.conftest import TINY_CONFIGS

pytestmark = pytest.mark.slow

NUM_PICTURES = 10
FLAGS = ("--device", "cpu", "--actors", 1)


@pytest.fixture
def swapped(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose update retired two samples before its encoder was swapped."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(NUM_PICTURES):
        Image.new("RGB", (72, 64), (number, 9, 20)).save(tmp_path / "photos" / f"{number}.png")
    first = ("--encoder", "dct", "--resolution", 64, *FLAGS)
    assert cli("build", "photos", "store", *first).code == 0
    for number, path in enumerate(sorted((tmp_path / "photos").glob("*.png"))[:2]):
        Image.new("RGB", (72, 64), (number, 90, 200)).save(path)
    update = ("--update", "--allow-retire", *FLAGS)
    assert cli("build", "photos", "store", *update).code == 0
    assert cli("swap", "store", "--encoder", "dct:block=4", *FLAGS).code == 0
    return tmp_path / "store"


def test_an_encoding_that_an_older_snapshot_serves_is_whole_and_no_failed_try(
    cli: Cli, swapped: Path
) -> None:
    new, old = cli("status", swapped, "--json").json["encodings"]
    assert (new["served"], old["served"], old["older_snapshots"]) == (True, False, [1, 2])
    for each in (new, old):
        assert (each["encoded"], each["quarantined"], each["missing"]) == (NUM_PICTURES, 0, 0)
    shown = cli("status", swapped).out
    assert "by snapshot 1, 2" in shown
    assert "not finished" not in shown
    assert f"latentcache gc STORE --free latents/{old['encoding'][:12]} --delete" in shown


def test_a_swap_over_a_store_with_refusals_still_says_how_the_old_one_is_given_up(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.new("RGB", (72, 64), (number, 9, 20)).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    first = cli("build", "photos", "store", "--encoder", "dct", "--resolution", 64, *FLAGS)
    told = cli("swap", "store", "--encoder", "dct:block=4", *FLAGS)
    assert (first.code, told.code) == (3, 3)
    assert "latentcache gc store --free latents/" in told.out.splitlines()[-1]
    again = cli("swap", "store", "--encoder", "dct", "--replace", *FLAGS, "--json")
    assert again.code == 3


def test_what_an_update_retired_and_nobody_encoded_yet_is_missing(cli: Cli, swapped: Path) -> None:
    picture = sorted((swapped.parent / "photos").glob("*.png"))[2]
    Image.new("RGB", (72, 64), (3, 90, 200)).save(picture)
    assert cli("plan", "photos", "store", "--update", "--allow-retire").code == 0
    new, old = cli("status", swapped, "--json").json["encodings"]
    for each in (new, old):
        assert (each["encoded"], each["missing"]) == (NUM_PICTURES - 1, 1)


def test_an_encoding_of_two_columns_is_given_up_by_column_and_digits(
    cli: Cli, swapped: Path
) -> None:
    old = cli("status", swapped, "--json").json["encodings"][1]["encoding"][:12]
    again = cli("encode", swapped, "--column", "other", "--encoder", "dct", *FLAGS)
    assert again.code == 0
    assert "other: column latents has this encoding too and does not serve it" in again.err
    assert "swap" in again.err
    refused = cli("gc", swapped, "--free", old)
    assert refused.code == 2
    assert f"latents/{old}" in refused.err
    assert f"other/{old}" in refused.err
    for name in (f"latents/{old}", f"latents:{old}", "latents/dct"):
        told = cli("gc", swapped, "--free", name, "--grace", 0)
        assert "would retire snapshot 1, 2" in told.out


def test_an_encoding_is_given_up_by_its_encoder_as_it_was_typed(cli: Cli, swapped: Path) -> None:
    diffusers.AutoencoderKL(**TINY_CONFIGS["AutoencoderKL"]).save_pretrained("vae4")
    lenient = ("--column", "vae", *FLAGS)
    assert cli("encode", swapped, "--encoder", "sd:vae4", *lenient).code == 0
    assert cli("encode", swapped, "--encoder", "dct", "--replace", *lenient).code == 0
    told = cli("gc", swapped, "--free", "sd:vae4", "--grace", 0)
    assert (told.code, "would delete" in told.out) == (0, True)
