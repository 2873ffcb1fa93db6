"""The examples of docs/examples run as they stand."""

import importlib.util
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from latentcache import open_store
from latentcache.encoders import EncoderOptions
from latentcache.testing.contract import EncoderContract
from latentcache.testing.synthetic import synthetic_store

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "store"
    synthetic_store(folder, num_samples=64, shape=(4, 8, 8), rows_per_shard=32)
    return folder


def test_thirty_lines_train_from_a_store(store: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "train_in_30_lines.py"), str(store), "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.startswith("loss ")
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert set(checkpoint) == {"model", "loader"}


def test_the_readme_s_ten_lines_train(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (EXAMPLES.parents[1] / "README.md").read_text(encoding="utf-8")
    block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    losses: list[float] = []

    def note(loss: float) -> None:
        losses.append(loss)
        if len(losses) == 3:  # the loop is endless
            raise StopIteration

    monkeypatch.chdir(store.parent)
    with pytest.raises(StopIteration):
        exec(compile(block, "README.md", "exec"), {"print": note})
    assert all(math.isfinite(loss) for loss in losses)


class TestOwnEncoder(EncoderContract):
    @pytest.fixture(autouse=True)
    def _weights(self, tmp_path: Path) -> None:
        self.module = _load("own_encoder")
        self.weights = tmp_path / "own.safetensors"
        torch.manual_seed(0)
        save_file(self.module.Pyramid().state_dict(), self.weights)

    def make_encoder(self):
        return self.module.OwnEncoder(EncoderOptions(device="cpu", location=str(self.weights)))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_another_language_reads_the_same_values(store: Path) -> None:
    snapshot = open_store(str(store)).snapshot()
    url = snapshot.column("latents").tar_urls()[0]
    command = ["node", str(EXAMPLES / "read_a_tar.mjs"), url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    samples = list(snapshot.column("latents").iter_samples())[: len(lines)]
    assert len(lines) == 32
    for line, (key, _unit, _row, fields) in zip(lines, samples, strict=True):
        name, rest = line.split(" ", 1)
        assert name == key
        (value,) = fields.values()
        first = float(np.asarray(value).reshape(-1)[0])
        assert float(rest.rsplit(" ", 1)[1]) == pytest.approx(first, rel=1e-5)


def test_the_page_s_own_encoder_and_its_contract_run_as_they_stand(tmp_path: Path) -> None:
    text = (EXAMPLES.parent / "encoders.md").read_text(encoding="utf-8")
    own, contract = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_encoders.py").write_text(own)
    (tmp_path / "test_mine.py").write_text(contract)
    for command in (["my_encoders.py"], ["-m", "pytest", "-q", "-p", "no:cacheprovider"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
