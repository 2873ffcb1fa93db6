"""The bare install trains from a store, and a command that needs more names the extra."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from latentcache.testing.synthetic import synthetic_store

REPOSITORY = Path(__file__).resolve().parents[1]

TRAIN = """
import sys
import torch
from latentcache.loader import LatentLoader

absent = ("ray", "av", "PIL", "diffusers", "s3fs", "simplejpeg")
for name in absent:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{name} can be imported: this is no bare install")

loader = LatentLoader(sys.argv[1], global_batch_size=8, seed=1)
model = torch.nn.Conv2d(4, 4, 3, padding=1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
losses = []
for step, batch in enumerate(loader):
    latents = batch["latents"].float()
    loss = (model(latents) - latents).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    if step == 30:
        break
assert losses[-1] < losses[0], losses
print("trained", len(losses))

from latentcache.cli import main

main(["train", sys.argv[2]])
"""


def _required(name: str, seen: set[str]) -> Iterator[metadata.Distribution]:
    """Yield a distribution and what it needs, without any of its extras."""
    distribution = metadata.distribution(name)
    yield distribution
    for line in distribution.requires or []:
        if "extra ==" in line:
            continue
        needed = re.match(r"[\w.-]+", line)
        key = needed[0].lower().replace("_", "-") if needed else ""
        if not key or key in seen:
            continue
        seen.add(key)
        try:
            yield from _required(key, seen)
        except metadata.PackageNotFoundError:
            continue  # for another Python or another system


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with links to the packages of a bare install, and to nothing else."""
    config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    folder = tmp_path_factory.mktemp("bare")
    seen: set[str] = set()
    for line in config["project"]["dependencies"]:
        name = re.match(r"[\w.-]+", line)
        assert name is not None
        for distribution in _required(name[0], seen):
            for file in distribution.files or []:
                top = file.parts[0]
                if top not in {"..", "__pycache__"} and not (folder / top).exists():
                    (folder / top).symlink_to(Path(str(distribution.locate_file(top))))
    (folder / "latentcache").symlink_to(REPOSITORY / "latentcache")
    return folder


def _run(bare: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(bare), "HOME": str(bare)}
    command = [sys.executable, "-S", "-P", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=bare, check=False
    )


RECIPE = """
store = "{store}"
out = "{out}"
device = "cpu"
[dit]
width = 16
depth = 1
num_heads = 2
[batches]
global_batch_size = 8
[train]
num_steps = 2
[output]
sample_every = 2
"""


def test_a_bare_install_trains_from_a_store_and_says_what_it_cannot_draw(
    bare: Path, tmp_path: Path
) -> None:
    """In ten lines, and by a recipe."""
    synthetic_store(tmp_path / "store", num_samples=64, shape=(4, 8, 8), rows_per_shard=32)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(store=tmp_path / "store", out=tmp_path / "out"))
    done = _run(bare, "-c", TRAIN, str(tmp_path / "store"), str(recipe))
    assert done.returncode == 0, done.stderr
    trained, _, result = done.stdout.partition("\n")
    assert trained == "trained 31"
    assert json.loads(result)["step"] == 2
    assert "no samples are drawn" in done.stderr
    assert "pip install 'latentcache[encode]'" in done.stderr


def test_a_command_that_needs_an_extra_names_it(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    photos, store = str(tmp_path / "photos"), str(tmp_path / "store")
    done = _run(bare, "-m", "latentcache", "build", photos, store)
    assert done.returncode == 2, done.stderr
    assert "pip install 'latentcache[encode]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_object_store_without_its_package_names_the_extra(bare: Path) -> None:
    done = _run(bare, "-m", "latentcache", "status", "s3://bucket/store")
    assert done.returncode == 2, done.stderr
    assert "pip install 'latentcache[s3]'" in done.stderr
