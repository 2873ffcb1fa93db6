"""``jobs/train_dit.py``: here, under torchrun and on Ray; stopped and resumed; pictures."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from latentcache.cli import main
from latentcache.cli.train import read_train_recipe
from latentcache.cli.train_pictures import sheet
from latentcache.testing.synthetic import add_annotation
from tests.evaluate.drawn_store import build_drawn_store

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPOSITORY / "jobs" / "configs").glob("train_*.toml"))
JOB = REPOSITORY / "jobs" / "train_dit.py"
NUM_STEPS = 8
RECIPE = """
store = {store}
out = {out}
condition = "label"
device = "cpu"
[dit]
width = 16
depth = 1
num_heads = 2
num_classes = 4
[batches]
global_batch_size = 4
seed = 3
[train]
num_steps = 8
learning_rate = 1e-3
[output]
save_every = 4
sample_every = 8
num_samples = 5
sample_steps = 2
log_samples = true
[ray]
num_workers = 2
max_failures = 1
"""


def run_ranks(num_ranks: int, *arguments: str) -> str:
    """Return what the job prints under torchrun."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(num_ranks)]
    done = subprocess.run(
        [*torchrun, "--standalone", str(JOB), *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.pass_context
def job(context: click.Context) -> None:
    """Run the command as the job file does."""
    main(["train", *context.args])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of drawn pictures, encoded by dct, each with a label."""
    torch.set_num_threads(1)
    store = build_drawn_store(Path(tmp_path_factory.mktemp("train_dit")))
    add_annotation(store, store.generations()[0], "label", lambda _, row: row % 4)
    store.publish([])
    return Path(store.folder.url.removeprefix("file://"))


def _write_recipe(folder: Path, store: Path) -> Path:
    path = folder / "recipe.toml"
    path.write_text(
        RECIPE.format(store=json.dumps(str(store)), out=json.dumps(str(folder / "out")))
    )
    return path


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(job, [str(one) for one in arguments])


def _losses(folder: Path) -> list[float]:
    lines = (folder / "out" / "losses.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [one["step"] for one in told] == list(range(1, NUM_STEPS + 1))
    return [one["loss"] for one in told]


@pytest.fixture(scope="module")
def straight(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    done = _run(_write_recipe(folder, store))
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["step"], result["is_stopped"]) == (NUM_STEPS, False)
    assert re.search(r"step 8/8, loss \d\.\d+, .* samples/s, loader wait \d+\.\d%", done.stderr)
    return folder


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in CONFIGS])
def test_example_recipe_is_valid(path: Path) -> None:
    assert read_train_recipe(path, {}).out


def test_run_leaves_checkpoints_losses_and_a_picture(straight: Path) -> None:
    out = straight / "out"
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert names == [
        "checkpoints/step_00000004.safetensors",
        "checkpoints/step_00000008.safetensors",
        "losses.jsonl",
        "sample_losses.jsonl",
        "samples/step_00000008.png",
    ]
    samples = [json.loads(line) for line in (out / "sample_losses.jsonl").read_text().splitlines()]
    assert len(samples) == 4 * NUM_STEPS
    assert set(samples[0]) == {"step", "key", "time", "loss", "is_dropped"}
    picture = np.asarray(Image.open(out / "samples" / "step_00000008.png"))
    # Five samples in a square of three by two, with a gutter.
    assert (picture.shape[1] - 8) % 3 == 0
    assert len(np.unique(picture)) > 8


def test_stopped_run_goes_on_to_the_same_losses(
    store: Path, straight: Path, tmp_path: Path
) -> None:
    recipe = _write_recipe(tmp_path, store)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stop").touch()
    stopped = _run(recipe)
    assert stopped.exit_code == 130
    assert "run the same command with --resume" in stopped.stderr
    assert json.loads(stopped.stdout)["step"] == 2
    refused = _run(recipe)
    assert refused.exit_code == 2
    assert re.fullmatch(r"error: out must hold no checkpoint, .*--resume.*\n", refused.stderr)
    resumed = _run(recipe, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert _losses(tmp_path) == _losses(straight)
    again = _run(recipe, "--resume")
    assert (again.exit_code, json.loads(again.stdout)["loss"]) == (0, None)
    changed = _run(recipe, "--resume", "--set", "dit.width=32")
    assert changed.exit_code == 2
    assert "model must be those of the checkpoint" in changed.stderr


@pytest.mark.slow
def test_sigterm_saves_and_says_how_to_go_on(store: Path, tmp_path: Path) -> None:
    recipe = _write_recipe(tmp_path, store)
    command = [sys.executable, str(JOB), str(recipe), "--set", "train.num_steps=1_000_000"]
    command += ["--set", "output.sample_every=0"]
    running = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    assert any(line.startswith("step 1/1,000,000") for line in running.stderr)
    os.kill(running.pid, signal.SIGTERM)
    stdout, stderr = running.communicate(timeout=150)
    assert running.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "stopped; run the same command with --resume to go on"
    result = json.loads(stdout)
    assert result["is_stopped"]
    assert Path(result["checkpoint"]).is_file()


@pytest.mark.slow
def test_torchrun_trains_the_same(store: Path, straight: Path, tmp_path: Path) -> None:
    stdout = run_ranks(2, str(_write_recipe(tmp_path, store)))
    assert json.loads(stdout)["step"] == NUM_STEPS
    assert _losses(tmp_path) == pytest.approx(_losses(straight), rel=1e-3)
    keys = [_keys(folder) for folder in (tmp_path, straight)]
    assert keys[0] == keys[1]


def _keys(folder: Path) -> list[tuple[int, str]]:
    log = folder / "out" / "sample_losses.jsonl"
    told = [json.loads(line) for line in log.read_text().splitlines()]
    return [(one["step"], one["key"]) for one in told]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray Train's own, on every start
def test_ray_train_trains_the_same(store: Path, straight: Path, tmp_path: Path) -> None:
    recipe = _write_recipe(tmp_path, store)
    done = _run(recipe, "--ray")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["step"] == NUM_STEPS
    assert "step 8/8" in done.stderr
    assert _losses(tmp_path) == pytest.approx(_losses(straight), rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["dit.widht=32"], "key must be one of .*got 'widht'.*'width'"),
        (["condition=lable"], "got 'lable'"),
        (["dit.num_classes=3"], "label must be from 0 to 2, got 3"),
        (["model=wan"], "wan must be given with the model wan"),
        (["device=gpu"], "device must be auto, cpu or cuda, got 'gpu'"),
        (["batches.global_batch_size=0"], "global_batch_size must be"),
        (["train.precision=half"], "value must be one of .*bfloat16"),
        (["store=/nowhere"], "store"),
        (["out="], "key 'out' must be given"),
    ],
)
def test_wrong_recipe_is_one_sentence(
    store: Path, tmp_path: Path, settings: list[str], message: str
) -> None:
    options = [word for one in settings for word in ("--set", one)]
    done = _run(_write_recipe(tmp_path, store), *options)
    assert done.exit_code in (1, 2)
    assert done.stdout == ""
    assert re.fullmatch(rf"error: .*{message}.*\n", done.stderr), done.stderr


def test_submitted_job_refuses_a_folder_that_goes_away(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    done = _run(_write_recipe(tmp_path, store), "--set", "out=runs/here")
    assert done.exit_code == 2
    assert "every node sees" in done.stderr


def test_clips_are_drawn_frame_by_frame() -> None:
    latents: Any = torch.randn(3, 4, 7, 6, 8)
    clips = np.asarray(Image.open(io.BytesIO(sheet(latents, None, list("abc"), title="step 1"))))
    pictures = np.asarray(Image.open(io.BytesIO(sheet(latents[:, :, 0], None))))
    gap, line, scale = 8, 17, 12
    # Small cells are enlarged whole; between them is paper, below them what they were told.
    assert clips.shape == (gap + line + 3 * (6 * scale + line + gap), 5 * 8 * scale + 2 * gap, 3)
    assert pictures.shape == (gap + line + 2 * (6 * scale + gap), 2 * (8 * scale + gap) + gap, 3)
    paper = pictures[gap + line : gap + line + 6 * scale, gap + 8 * scale : 2 * gap + 8 * scale]
    assert len(np.unique(paper.reshape(-1, 3), axis=0)) == 1
