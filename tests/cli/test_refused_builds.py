"""What a build refuses leaves nothing behind, and what is not given is the store's."""

from pathlib import Path

import diffusers
import pytest
from PIL import Image

from latentcache.testing.drawn import write_drawn_corpus
from tests.cli.conftest import Cli
from tests.decode.clips import encode_clip
from tests.encoders.conftest import TINY_CONFIGS

pytestmark = pytest.mark.slow

NUM_PICTURES = 12


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, clips and two VAEs of 4 and 16 channels."""
    folder = tmp_path_factory.mktemp("home")
    write_drawn_corpus(folder / "photos", NUM_PICTURES, size_px=64)
    (folder / "clips").mkdir()
    for name in ("one", "two"):
        (folder / "clips" / f"{name}.mp4").write_bytes(encode_clip(9, size_px=(64, 64)))
    for channels in (4, 16):
        config = {**TINY_CONFIGS["AutoencoderKL"], "latent_channels": channels}
        diffusers.AutoencoderKL(**config).save_pretrained(folder / f"vae{channels}")
    return folder


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with all of ``home`` by its name."""
    for each in home.iterdir():
        if each.name != "photos":
            (tmp_path / each.name).symlink_to(each)
    (tmp_path / "photos").mkdir()
    for picture in (home / "photos").iterdir():
        (tmp_path / "photos" / picture.name).write_bytes(picture.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("encoder", "code", "sentence"),
    [
        ("sdx:vae4", 2, "did you mean 'sdxl'?"),
        ("flux:vae4", 1, "16 channels for flux, got 4"),
        ("vae5", 2, "'vae5', no folder here and no encoder of that name"),
    ],
)
def test_a_wrong_encoder_is_refused_before_there_is_a_store(
    cli: Cli, here: Path, encoder: str, code: int, sentence: str
) -> None:
    done = cli("build", "photos", "store", "--encoder", encoder)
    assert (done.code, (here / "store").exists()) == (code, False)
    assert sentence in done.err
    assert "kandinsky" not in done.err  # no wall of names
    assert max(map(len, done.err.splitlines())) < 250


def test_weights_of_other_channels_are_refused_with_the_presets_that_fit(
    cli: Cli, here: Path
) -> None:
    done = cli("build", "photos", "store", "--encoder", "flux:vae4")
    assert "use a preset of these weights: sd, sdxl, kl" in done.err
    other = cli("build", "photos", "store", "--encoder", "sd:vae16")
    assert "flux" in other.err.rpartition("preset of these weights")[2]


@pytest.mark.ray
def test_an_encoder_of_pictures_over_clips_leaves_no_plan_and_is_told_what_takes_clips(
    cli: Cli, here: Path
) -> None:
    flags = ("--frames", 9, "--resolution", 64, "--device", "cpu")
    done = cli("build", "clips", "store", "--encoder", "sd:vae4", *flags)
    assert done.code == 1
    assert "name an encoder of clips (wan" in done.err
    assert "--input first_frame" in done.err
    assert "plan.step" not in done.err
    assert not (here / "store" / "plan").exists()
    assert cli("plan", "clips", "store", "--frames", 5, *flags[2:]).code == 0


def test_an_update_with_an_encoder_that_the_column_refuses_takes_nothing_in(
    cli: Cli, here: Path
) -> None:
    flags = ("--device", "cpu", "--actors", 1)
    first = cli(
        "build", "photos", "store", "--encoder", "sd:vae4", "--resolution", 64, *flags, "--json"
    )
    assert first.json["encoded"] == NUM_PICTURES
    Image.new("RGB", (64, 64), (9, 90, 200)).save(here / "photos" / "late.png")
    before = sorted(path for path in (here / "store").rglob("*") if path.is_file())
    done = cli("build", "photos", "store", "--update", "--encoder", "kl:vae16", *flags)
    assert done.code == 2
    assert "column latents must keep its encoding" in done.err
    assert sorted(path for path in (here / "store").rglob("*") if path.is_file()) == before
    taken = cli("build", "photos", "store", "--update", *flags, "--json")
    assert taken.json["encoded"] == NUM_PICTURES + 1


def test_plan_options_that_are_not_given_are_the_plans(cli: Cli, here: Path) -> None:
    flags = ("--device", "cpu", "--actors", 1)
    planned = ("--resolution", 96, "--min-bucket", 3, "--rows-per-shard", 8)
    assert cli("build", "photos", "store", "--encoder", "dct", *planned, *flags).code == 0
    again = cli("build", "photos", "store", *flags)
    assert again.code == 0
    assert "plan: keeping min_bucket=3, resolution=96, rows_per_shard=8" in again.err
    assert cli("plan", "photos", "store", "--min-bucket", 3).code == 0
    Image.new("RGB", (64, 64), (9, 90, 200)).save(here / "photos" / "late.png")
    taken = cli("build", "photos", "store", "--update", "--min-bucket", 3, *flags, "--json")
    assert taken.json["encoded"] == NUM_PICTURES + 1
    refused = cli("build", "photos", "store", "--update", "--min-bucket", 4)
    assert refused.code == 1
    assert "(min_bucket=3), got min_bucket=4" in refused.err
    assert "resolution" not in refused.err


def test_a_first_build_without_an_encoder_says_what_it_takes(cli: Cli, here: Path) -> None:
    flags = ("--resolution", 64, "--device", "cpu", "--actors", 1)
    done = cli("build", "photos", "store", *flags)
    assert done.code == 0
    said = "latents: no encoder is named, taking dct, which has no weights; for a VAE: --encoder"
    assert said in done.err
    assert said not in cli("build", "photos", "store", *flags).err
    assert said not in cli("build", "photos", "other", "--encoder", "dct", *flags).err
