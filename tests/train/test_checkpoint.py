"""Checkpoints: whole or not there, everything in them, and nobody else's taken over."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from latentcache.core.errors import ConfigError, RunError
from latentcache.loader import LatentLoader
from latentcache.testing.synthetic import SyntheticColumn, add_column
from latentcache.train import Trainer, TrainOptions, TrainRecipe, load_weights
from latentcache.train.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from latentcache.train.train_recipe import BatchOptions
from tests.train.conftest import IMAGES, make_store, tiny_dit, tiny_trainer


@pytest.fixture(scope="module")
def saved(image_store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that no test changes, of a run of three steps."""
    trainer = tiny_trainer(image_store)
    trainer.run(until_step=3)
    path = tmp_path_factory.mktemp("checkpoint") / "run.safetensors"
    trainer.save(path)
    return path


def test_any_tool_can_read_it(saved: Path, image_store: str) -> None:
    loader = LatentLoader(image_store, columns=["latents"], global_batch_size=8)
    with safe_open(saved, framework="pt") as file:
        facts = json.loads(file.metadata()["latentcache"])
        names = list(file.keys())
    assert facts["step"] == facts["loader"]["step"] == 3
    assert facts["normalizer"] == loader.normalizer.to_json()
    assert facts["model"]["kind"] == "dit"
    assert facts["options"]["num_steps"] == 12
    assert {"model.embed.weight", "ema.embed.weight", "optimizer.exp_avg.embed.weight"} <= set(
        names
    )


def test_weights_come_back_as_a_model_with_its_normalization(saved: Path, image_store: str) -> None:
    trainer = tiny_trainer(image_store)
    trainer.load(saved)
    model, normalizer = load_weights(saved)
    for name, tensor in model.named_parameters():
        assert torch.equal(tensor, trainer.weights.ema[name])
    drawn = trainer.sample(torch.tensor([1]), num_steps=2)
    assert normalizer.to_json() == read_checkpoint(saved).facts["normalizer"]
    assert drawn.isfinite().all()
    latest, _ = load_weights(saved, weights="model")
    assert torch.equal(latest.embed.weight, trainer.model.get_parameter("embed.weight"))


def test_a_checkpoint_in_the_words_of_earlier_releases_is_read(
    saved: Path, image_store: str, tmp_path: Path
) -> None:
    now, path = read_checkpoint(saved), tmp_path / "old.safetensors"
    facts = dict(now.facts)
    facts["normalise"] = facts.pop("normalizer")  # as earlier releases wrote it
    facts["loader"] = dict(facts["loader"])
    facts["loader"]["normalise"] = facts["loader"].pop("normalizer")  # earlier releases too
    write_checkpoint(path, Checkpoint(now.tensors, facts))
    assert read_checkpoint(path).normalizer().to_json() == now.normalizer().to_json()
    trainer = tiny_trainer(image_store)
    trainer.load(path)
    assert trainer.step == 3
    old = {"beside_channels": 5, "has_places": True}  # of earlier releases
    write_checkpoint(path, Checkpoint(now.tensors, {**facts, "model": facts["model"] | old}))
    described = read_checkpoint(path).facts["model"]
    assert (described["conditioning_channels"], described["has_position_embedding"]) == (5, True)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "foreign", "missing"])
def test_damaged_or_missing_checkpoint_is_refused_in_one_sentence(
    saved: Path, image_store: str, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "run.safetensors"
    data = saved.read_bytes()
    if damage == "foreign":
        write_foreign(path)
    elif damage != "missing":
        flipped = data[:-1] + bytes([data[-1] ^ 1])
        path.write_bytes({"cut": data[:-100], "flipped": flipped, "text": b"{}"}[damage])
    trainer = tiny_trainer(image_store)
    with pytest.raises(ConfigError, match=r"^checkpoint must [^\n]*$"):
        trainer.load(path)
    assert trainer.step == 0


def write_foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ({"width": 32}, {}, "model must be those of the checkpoint, got .*32.* where it has .*16"),
        ({}, {"learning_rate": 1.0}, "options must be those of the checkpoint.*learning_rate"),
    ],
)
def test_another_runs_checkpoint_is_refused(
    saved: Path, image_store: str, model: dict[str, int], options: dict[str, float], message: str
) -> None:
    loader = LatentLoader(image_store, columns=["latents", "label"], global_batch_size=8, seed=5)
    chosen = TrainOptions(**{"num_steps": 12, "learning_rate": 3e-3, **options})  # type: ignore[arg-type]
    trainer = Trainer(tiny_dit(**model), loader, chosen, condition="label")  # type: ignore[arg-type]
    before = [one.detach().clone() for one in trainer.model.parameters()]
    with pytest.raises(ConfigError, match=message):
        trainer.load(saved)
    after = list(trainer.model.parameters())
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


def test_options_can_be_changed_on_purpose(saved: Path, image_store: str) -> None:
    trainer = tiny_trainer(image_store, learning_rate=1e-4, num_steps=5)
    trainer.load(saved, new_options=True)
    trainer.run()
    assert trainer.step == 5


def test_another_encoders_store_is_refused(saved: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", [IMAGES], seed=9)
    assert SyntheticColumn(seed=9).record().fingerprint != SyntheticColumn().record().fingerprint
    trainer = tiny_trainer(str(other.folder.url))
    with pytest.raises(ConfigError, match=r"columns must be those of the run, got .*latents"):
        trainer.load(saved)
    assert trainer.step == 0


def test_a_disk_that_cannot_take_it_keeps_the_one_before(saved: Path, image_store: str) -> None:
    trainer = tiny_trainer(image_store)
    with pytest.raises(RunError, match="checkpoint must be written whole"):
        trainer.save(saved / "below_a_file" / "run.safetensors")
    assert read_checkpoint(saved).facts["step"] == 3


_WRITER = """
import sys, torch
from latentcache.train.checkpoint import Checkpoint, write_checkpoint
print("ready", flush=True)
for step in range(1, 10_000):
    tensor = torch.full((400_000,), float(step))
    write_checkpoint(sys.argv[1], Checkpoint({"model.x": tensor}, {"step": step}))
    print(step, flush=True)
"""


def test_kill_in_the_middle_of_saving_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    command = [sys.executable, "-c", _WRITER, str(path)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(12)]
    os.kill(writer.pid, signal.SIGKILL)
    rest, _ = writer.communicate(timeout=60)
    said = int((lines + rest.split())[-1])
    found = read_checkpoint(path)
    assert found.facts["step"] >= said
    assert torch.equal(found.tensors["model.x"], torch.full((400_000,), found.facts["step"] * 1.0))


def test_checkpoint_of_nothing_is_one_too(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "empty", Checkpoint({"model.none": torch.zeros(0)}, {"step": 0}))
    assert read_checkpoint(tmp_path / "empty").tensors["model.none"].shape == (0,)


def test_a_run_goes_on_with_its_encoding_after_the_store_was_swapped(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", [IMAGES])
    recipe = TrainRecipe(
        store=str(tmp_path / "store"),
        out=str(tmp_path / "run"),
        device="cpu",
        batches=BatchOptions(global_batch_size=8),
        dit={"width": 16, "depth": 1, "num_heads": 2},
        train=TrainOptions(num_steps=2),
    )
    path = tmp_path / "run.safetensors"
    before = recipe.make_trainer(torch.device("cpu"))
    before.run(until_step=1)
    before.save(path)
    add_column(store, SyntheticColumn(channels=16, seed=3))
    after = recipe.make_trainer(torch.device("cpu"), newest=path)
    after.load(path)
    after.run()
    assert (after.step, after.shapes()) == (2, before.shapes())


def test_a_finished_run_is_made_longer_and_no_run_shorter_than_it_is(
    saved: Path, image_store: str
) -> None:
    longer = tiny_trainer(image_store, num_steps=30)
    longer.load(saved)
    step = longer.step
    longer.run(until_step=step + 1)
    assert longer.step == step + 1
    with pytest.raises(
        ConfigError, match=f"num_steps must be at least the checkpoint's step, {step}"
    ):
        tiny_trainer(image_store, num_steps=step - 1).load(saved)
