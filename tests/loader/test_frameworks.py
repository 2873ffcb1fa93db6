"""The examples of docs/frameworks.md: each block as it is printed, on processes of its own.

Every example trains on two processes, stops, and goes on as one, on a store that has moved to
another encoder with other channels; the rows that were seen, step by step, must be those that one
loader draws.
"""

import importlib.util
import itertools
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from latentcache.cli.entry import cli
from latentcache.loader import LatentLoader
from tests.docs.quickstart_store import build_store
from tests.loader.forked_ranks import Forks, run_alone

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "frameworks.md").read_text(encoding="utf-8")
FIRST, LAST = 2, 4
SWAP = ["swap", "build/store", "--encoder", "dct:keep=4"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]

# Ray would listen on the machine's own address, and start once for each run of the example.
ON_RAY = """
import runpy, subprocess, sys
import ray
ray.init("local", num_cpus=4, include_dashboard=False, object_store_memory=2**27,
         _node_ip_address="127.0.0.1")
for arguments in ({both!r}, {alone!r}):
    sys.argv = ["example.py", *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")
    subprocess.run([sys.executable, "-m", "latentcache", *{swap!r}], check=True)
"""


@dataclass(frozen=True)
class Example:
    """A section of the page, and how it is started.

    Attributes:
        heading: Of the section.
        needs: Module that must be installed.
        starts_ranks: The example itself starts its ranks, as many as its last argument says.
    """

    heading: str
    needs: str = "torch"
    starts_ranks: bool = False

    def arguments(self, num_processes: int, until_step: int) -> list[str]:
        return [str(until_step), *([str(num_processes)] if self.starts_ranks else [])]

    def run(self, forks: Forks, folder: Path, num_processes: int, until_step: int) -> str:
        """Return what the ranks print."""
        arguments = self.arguments(num_processes, until_step)
        if self.heading == "torchrun with DDP" and num_processes > 1:
            return run_alone([*TORCHRUN, str(num_processes), "example.py", *arguments], folder)
        return forks.run(
            folder / "example.py",
            arguments,
            num_ranks=1 if self.starts_ranks else num_processes,
            folder=folder,
            sets_ranks=not self.starts_ranks,
        )


EXAMPLES = [
    Example("torchrun with DDP"),
    Example("FSDP2"),
    Example("Accelerate", "accelerate"),
    Example("Lightning", "lightning", starts_ranks=True),
    Example("Hugging Face Trainer", "transformers"),
]
RAY_TRAIN = Example("Ray Train", "ray", starts_ranks=True)


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


def laid_out(example: Example, built: Path, folder: Path) -> None:
    if importlib.util.find_spec(example.needs) is None:
        pytest.skip(f"{example.needs} is not installed; install the extra named frameworks")
    shutil.copytree(built / "build", folder / "build")
    (folder / "step.py").write_text(block("What the examples share"))
    (folder / "example.py").write_text(block(example.heading))


def swapped(folder: Path) -> None:
    """Have the store serve latents of another encoder, with other channels."""
    channels = [LatentLoader(folder / "build" / "store", global_batch_size=16).shapes()]
    done = CliRunner().invoke(cli, [SWAP[0], str(folder / SWAP[1]), *SWAP[2:]])
    assert done.exit_code == 0, done.output
    channels.append(LatentLoader(folder / "build" / "store", global_batch_size=16).shapes())
    assert channels[0] != channels[1]


def check(both: dict[int, list[int]], alone: dict[int, list[int]], built: Path) -> None:
    assert sorted(both) == list(range(FIRST))
    assert sorted(alone) == list(range(FIRST, LAST))
    assert {**both, **alone} == expected(built)


@pytest.mark.slow
@pytest.mark.parametrize("example", [pytest.param(one, id=one.heading) for one in EXAMPLES])
def test_ranks_see_what_one_process_sees_and_resume_as_fewer_after_a_swap(
    example: Example, built: Path, framework_forks: Forks, tmp_path: Path
) -> None:
    laid_out(example, built, tmp_path)
    both = seen(example.run(framework_forks, tmp_path, 2, FIRST))
    swapped(tmp_path)
    alone = seen(example.run(framework_forks, tmp_path, 1, LAST))
    check(both, alone, built)


@pytest.mark.ray
@pytest.mark.slow
def test_workers_of_ray_train_see_what_one_process_sees_and_resume_as_fewer_after_a_swap(
    built: Path, tmp_path: Path
) -> None:
    laid_out(RAY_TRAIN, built, tmp_path)
    arguments = {"both": RAY_TRAIN.arguments(2, FIRST), "alone": RAY_TRAIN.arguments(1, LAST)}
    (tmp_path / "on_ray.py").write_text(ON_RAY.format(**arguments, swap=SWAP))
    steps = seen(run_alone(["on_ray.py"], tmp_path))
    both = {step: rows for step, rows in steps.items() if step < FIRST}
    check(both, {step: rows for step, rows in steps.items() if step >= FIRST}, built)


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
def test_scripts_that_read_a_folder_or_encode_read_a_store_after_the_change(
    built: Path, framework_forks: Forks
) -> None:
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
    one = seen(framework_forks.run(built / "folder.py", [], folder=built, sets_ranks=False))
    two = seen(framework_forks.run(built / "loop.py", [], folder=built, sets_ranks=False))
    whole = expected(built)
    assert one == whole
    assert two == {step: whole[step] for step in (0, 1)}
