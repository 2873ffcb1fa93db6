"""Sheets of samples that a run draws: decoded by what made its latents, and never its end."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from latentcache.cli.entry import run
from tests.encoders.conftest import TINY_CONFIGS
from tests.jobs.test_train_dit import job

RECIPE = """
store = {store}
out = {out}
device = "cpu"
normalize = "measured"
[dit]
width = 16
depth = 1
num_heads = 2
[batches]
global_batch_size = 4
[train]
num_steps = 4
[output]
sample_every = 2
num_samples = 4
sample_steps = 2
"""


def save_vae(folder: Path, *, channels: int, seed: int) -> str:
    """Save a tiny random VAE; return what a user types for it."""
    torch.manual_seed(seed)
    config = {**TINY_CONFIGS["AutoencoderKL"], "latent_channels": channels}
    made: Any = diffusers.AutoencoderKL
    made(**config).save_pretrained(folder)
    return f"{'sd' if channels == 4 else 'sd3'}:{folder}"


def command(*arguments: str | Path) -> None:
    assert run([str(one) for one in arguments]) == 0


def train(folder: Path, store: Path, *arguments: str) -> Result:
    """Run the recipe in a folder of its own."""
    recipe = folder / "recipe.toml"
    folder.mkdir(exist_ok=True)
    recipe.write_text(
        RECIPE.format(store=json.dumps(str(store)), out=json.dumps(str(folder / "out")))
    )
    return CliRunner().invoke(job, [str(recipe), *arguments])


@pytest.fixture(scope="module")
def vaes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three VAEs: two with 4 channels and other weights, one with 16."""
    home = tmp_path_factory.mktemp("vaes")
    return {
        "vae4": save_vae(home / "vae4", channels=4, seed=0),
        "other weights": save_vae(home / "vae4b", channels=4, seed=1),
        "other channels": save_vae(home / "vae16", channels=16, seed=2),
    }


@pytest.fixture(scope="module")
def store(vaes: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 8 pictures by the first VAE."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("sheets")
    (home / "photos").mkdir()
    random = np.random.default_rng(0)
    for number in range(8):
        pixels = random.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(home / "photos" / f"{number}.png")
    options = ("--resolution", "64", "--encoder", vaes["vae4"])
    command("build", home / "photos", home / "store", *options)
    return home / "store"


@pytest.fixture(scope="module")
def straight(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    done = train(folder, store)
    assert done.exit_code == 0, done.output
    return folder


def last_sheet(folder: Path) -> bytes:
    return (folder / "out" / "samples" / "step_00000004.png").read_bytes()


@pytest.mark.parametrize("swapped_to", ["other weights", "other channels"])
def test_sheets_of_a_resumed_run_are_decoded_by_the_encoder_that_it_began_with(
    swapped_to: str, vaes: dict[str, str], store: Path, straight: Path, tmp_path: Path
) -> None:
    shutil.copytree(store, tmp_path / "store")
    (tmp_path / "run" / "out").mkdir(parents=True)
    (tmp_path / "run" / "out" / "stop").touch()
    stopped = train(tmp_path / "run", tmp_path / "store")
    assert stopped.exit_code == 130, stopped.output
    command("swap", tmp_path / "store", "--encoder", vaes[swapped_to])
    resumed = train(tmp_path / "run", tmp_path / "store", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert last_sheet(tmp_path / "run") == last_sheet(straight)


def hide_encoder(folder: Path, vae: Path) -> None:
    vae.rename(vae.with_name("moved"))


def block_samples(folder: Path, vae: Path) -> None:
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "samples").touch()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(hide_encoder, "samples are drawn as latents: ", id="encoder-moved"),
        pytest.param(block_samples, "no samples are drawn at step 4: ", id="no-folder"),
    ],
)
def test_a_sheet_that_cannot_be_drawn_is_a_sentence_and_the_run_goes_on(
    spoil: Callable[[Path, Path], None],
    said: str,
    vaes: dict[str, str],
    store: Path,
    straight: Path,
    tmp_path: Path,
) -> None:
    vae = Path(vaes["vae4"].partition(":")[2])
    spoil(tmp_path / "run", vae)
    try:
        done = train(tmp_path / "run", store)
    finally:
        if (moved := vae.with_name("moved")).exists():
            moved.rename(vae)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["step"] == 4
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    checkpoints = ("out", "checkpoints", "step_00000004.safetensors")
    assert (
        tmp_path.joinpath("run", *checkpoints).read_bytes()
        == straight.joinpath(*checkpoints).read_bytes()
    )
