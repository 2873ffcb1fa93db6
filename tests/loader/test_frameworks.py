"""The examples of docs/frameworks.md: each block as it is printed, on processes of its own.

Every example trains on two processes, stops, and goes on as one; the rows that were seen, step
by step, must be those that one loader draws.
"""

import importlib.util
import itertools
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from latentcache.loader import LatentLoader
from tests.docs.quickstart_store import build_store

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "frameworks.md").read_text(encoding="utf-8")
FIRST, LAST = 2, 4
LIMIT_S = 300
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]

# Ray would listen on the machine's own address; the example starts it as a user would.
START_RAY = """
import runpy, sys
import ray
ray.init("local", num_cpus=4, include_dashboard=False, object_store_memory=2**27,
         _node_ip_address="127.0.0.1")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Example:
    """A section of the page, and how it is started.

    Attributes:
        heading: Of the section.
        needs: Module that must be installed.
        launcher: Before the number of processes where it is given there.
        environment: Added.
    """

    heading: str
    needs: str = "torch"
    launcher: list[str] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, num_processes: int, until_step: int) -> list[str]:
        if self.launcher is not None:
            return [*self.launcher, str(num_processes), "example.py", str(until_step)]
        script = ["start_ray.py", "example.py"] if self.needs == "ray" else ["example.py"]
        return [sys.executable, *script, str(until_step), str(num_processes)]


EXAMPLES = [
    Example("torchrun with DDP", launcher=TORCHRUN),
    Example("FSDP2", launcher=TORCHRUN),
    Example("Accelerate", "accelerate", TORCHRUN, {"ACCELERATE_USE_CPU": "1"}),
    Example("Lightning", "lightning"),
    Example("Hugging Face Trainer", "transformers", TORCHRUN, {"ACCELERATE_USE_CPU": "1"}),
    Example(
        "Ray Train",
        "ray",
        environment={
            "RAY_DEDUP_LOGS": "0",
            "RAY_raylet_start_wait_time_s": "180",
            "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "240",
        },
    ),
]


def block(heading: str, language: str = "python") -> str:
    """Return the first fenced block of a section."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.search(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``build/store``, the quickstart's: two buckets, classes."""
    folder = tmp_path_factory.mktemp("frameworks")
    build_store(folder)
    return folder


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{folder}",
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert not done.returncode, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


def seen(output: str) -> dict[int, list[int]]:
    """Return each step's rows, sorted: ranks print in any order, and Ray prints lines twice."""
    found: dict[int, list[int]] = {}
    for step, rows in set(re.findall(r"step (\d+) rows \[([\d, ]+)\]", output)):
        found.setdefault(int(step), []).extend(int(row) for row in rows.split(","))
    return {step: sorted(rows) for step, rows in found.items()}


def expected(folder: Path) -> dict[int, list[int]]:
    loader = LatentLoader(folder / "build" / "store", global_batch_size=16)
    batches = itertools.islice(loader, LAST)
    return {batch.facts.step: sorted(batch["row"].tolist()) for batch in batches}


@pytest.mark.slow
@pytest.mark.parametrize(
    "example",
    [
        pytest.param(one, id=one.heading, marks=pytest.mark.ray if one.needs == "ray" else ())
        for one in EXAMPLES
    ],
)
def test_ranks_see_what_one_process_sees_and_resume_as_fewer(
    example: Example, built: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec(example.needs) is None:
        pytest.skip(f"{example.needs} is not installed; install the extra named frameworks")
    (tmp_path / "build").symlink_to(built / "build")
    (tmp_path / "step.py").write_text(block("What the examples share"))
    (tmp_path / "start_ray.py").write_text(START_RAY)
    (tmp_path / "example.py").write_text(block(example.heading))
    both = seen(run(example.command(2, FIRST), tmp_path, example.environment))
    alone = seen(run(example.command(1, LAST), tmp_path, example.environment))
    assert sorted(both) == list(range(FIRST))
    assert sorted(alone) == list(range(FIRST, LAST))
    assert {**both, **alone} == expected(built)


FOLDER_SCRIPT = """
import torch
from latentcache.loader import LatentLoader
from step import loss_of, make_model

config = {"data_path": "build/store", "global_batch_size": 16, "seed": 0, "num_steps": 2}
device, path = torch.device("cpu"), "folder.pt"
model = make_model(LatentLoader(config["data_path"], global_batch_size=16))

def train_step(x, y):
    assert x.dtype == torch.float32 and abs(float(x.mean())) < 0.5 and y.dtype == torch.int64
    print("step", loader.step - 1, "rows", batch["row"].tolist())

"""
LOOP_SCRIPT = """
from argparse import Namespace
import torch
from accelerate import Accelerator
from latentcache.loader import LatentLoader
from step import make_model
from latentcache.train import flow_loss

args = Namespace(train_data_dir="build/store", train_batch_size=16, seed=0, max_train_steps=2)
accelerator = Accelerator(cpu=True)
model = make_model(LatentLoader(args.train_data_dir, global_batch_size=16))
optimizer = torch.optim.AdamW(model.parameters())

def loss_of(model, latents, noise, labels):
    print("step", batch.facts.step, "rows", batch["row"].tolist())
    times = torch.rand(len(latents))
    return flow_loss(model, latents, labels, times=times, noise=noise).mean()

"""


def changed(heading: str) -> tuple[str, str]:
    """Return a diff's script before and after."""
    lines = block(heading, "diff").splitlines()
    before, after = (
        "\n".join(line[1:] for line in lines if line[0] in (" ", sign)) for sign in "-+"
    )
    return before, after


@pytest.mark.slow
def test_scripts_that_read_a_folder_or_encode_read_a_store_after_the_change(built: Path) -> None:
    if importlib.util.find_spec("accelerate") is None:
        pytest.skip("accelerate is not installed; install the extra named frameworks")
    (built / "step.py").write_text(block("What the examples share"))
    folder_before, folder_after = changed("From a folder of latents")
    loop_before, loop_after = changed("From an encoder in the loop")
    for before in (folder_before, loop_before):
        compile(before, "before", "exec")
    resumed = "".join(
        f"\ncheckpoint = {checkpoint}\nconfig['num_steps'] = {num_steps}\n{folder_after}\n"
        for checkpoint, num_steps in (("{}", 2), ("torch.load(path)", 4))
    )
    (built / "folder.py").write_text(FOLDER_SCRIPT + resumed)
    (built / "loop.py").write_text(LOOP_SCRIPT + loop_after)
    one = seen(run([sys.executable, "folder.py"], built, {}))
    two = seen(run([sys.executable, "loop.py"], built, {}))
    whole = expected(built)
    assert one == whole
    assert two == {step: whole[step] for step in (0, 1)}
