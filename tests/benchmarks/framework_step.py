"""What a training step takes in each framework, fed by the loader; not a test.

    python -m tests.benchmarks.framework_step [--rounds 5] [--steps 30] [--only NAME ...]

Two ranks of one thread each train one small DiT on a warm store of 4x32x32 float16 latents. A
step is the time from one call of the model to the next, on rank 0; a run's figure is the median
of its steps after the first five. In each round every framework runs twice, with the loader and
with a ``DataLoader`` of the framework's own over one batch held in memory, so that what the
framework itself costs is seen apart. ``plain`` is a loop over DistributedDataParallel.
"""

# ruff: noqa: PLC0415  a framework is loaded where it is tried

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from latentcache.core.media import Bucket
from latentcache.loader import LatentLoader, Source
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from latentcache.train import DiT, DiTConfig

NUM_ROWS, BATCH, WORLD, NUM_SKIPPED = 4096, 16, 2, 5
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
KINDS = ("loader", "held")


class Timed(nn.Module):
    """A DiT's squared error at one time of the flow; notes when it is called."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = DiTConfig(channels=4, width=128, depth=3, num_heads=4)
        self.dit = DiT(config)
        self.called_s: list[float] = []

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch of latents (B, C, H, W)."""
        self.called_s.append(time.perf_counter())
        clips = latents.float()[:, :, None]
        times = torch.full((len(clips),), 0.5)
        loss: torch.Tensor = (self.dit(clips, times) - clips).square().mean()
        return loss


def make_store(folder: Path) -> None:
    """Write a store of synthetic latents, in one bucket."""
    store = Store.create(folder / "store")
    add_generation(store, [(Bucket(1, 256, 256), NUM_ROWS, 1024)])
    add_column(store, SyntheticColumn())


def batches_of(folder: Path, kind: str) -> Any:
    """Return the loader, or a ``DataLoader`` over its first batch."""
    loader = LatentLoader(Source(store=folder / "store"), global_batch_size=BATCH)
    if kind == "loader":
        return loader
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    one = LatentLoader(
        Source(store=folder / "store"), global_batch_size=BATCH, rank=rank, world_size=world
    )
    batch = {"latents": next(iter(one))["latents"].clone()}
    return torch.utils.data.DataLoader([batch] * NUM_ROWS, batch_size=None)


def plain(folder: Path, kind: str, steps: int) -> Timed:
    """DistributedDataParallel and a loop."""
    dist.init_process_group("gloo")
    timed = Timed()
    model = nn.parallel.DistributedDataParallel(timed)
    _loop(model, _optimizer(timed), batches_of(folder, kind), steps)
    return timed


def fsdp2(folder: Path, kind: str, steps: int) -> Timed:
    """``fully_shard`` and the same loop."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo")
    timed = Timed()
    fully_shard(timed, mesh=init_device_mesh("cpu", (WORLD,)))
    _loop(timed, _optimizer(timed), batches_of(folder, kind), steps)
    return timed


def fabric(folder: Path, kind: str, steps: int) -> Timed:
    """Lightning Fabric; the loader is not set up."""
    from lightning.fabric import Fabric

    runs = Fabric(accelerator="cpu", devices=WORLD, strategy="ddp")
    runs.launch()
    timed = Timed()
    model, optimizer = runs.setup(timed, _optimizer(timed))
    _loop(model, optimizer, batches_of(folder, kind), steps, backward=runs.backward)
    return timed


def accelerate(folder: Path, kind: str, steps: int) -> Timed:
    """Everything prepared."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    timed = Timed()
    batches = batches_of(folder, kind)
    model, optimizer = accelerator.prepare(timed, _optimizer(timed))
    if kind == "loader":  # it would deal rows of a DataLoader's batches to the ranks
        batches = accelerator.prepare(batches)
    _loop(model, optimizer, batches, steps, backward=accelerator.backward)
    return timed


def lightning(folder: Path, kind: str, steps: int) -> Timed:
    """``Trainer.fit`` with our callback."""
    import lightning as pl

    from latentcache.loader.frameworks import WholeSteps

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.timed = Timed()

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            loss: torch.Tensor = self.timed(batch["latents"])
            return loss

        def configure_optimizers(self) -> Any:
            return _optimizer(self)

    module = Module()
    trainer = pl.Trainer(
        accelerator="cpu", devices=WORLD, strategy="ddp", max_steps=steps, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, callbacks=[WholeSteps()] if kind == "loader" else [],
    )  # fmt: skip
    trainer.fit(module, batches_of(folder, kind))
    return module.timed


def transformers(folder: Path, kind: str, steps: int) -> Timed:
    """``Trainer`` with our mixin, or as it comes."""
    import transformers as hf

    from latentcache.loader.frameworks import FromLatents

    class Loss:
        def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
            loss: torch.Tensor = model(inputs["latents"])
            return loss

    class Latents(Loss, FromLatents, hf.Trainer):  # type: ignore[misc]  # untyped
        pass

    class Held(Loss, hf.Trainer):  # type: ignore[misc]  # untyped
        def get_train_dataloader(self) -> Any:
            return self.train_dataset

    timed = Timed()
    arguments = hf.TrainingArguments(
        output_dir=str(folder / "transformers"), max_steps=steps, use_cpu=True, report_to=[],
        disable_tqdm=True, logging_strategy="no", save_strategy="no", remove_unused_columns=False,
    )  # fmt: skip
    made = Latents if kind == "loader" else Held
    made(timed, arguments, train_dataset=batches_of(folder, kind)).train()
    return timed


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-4)


def _loop(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Any,
    steps: int,
    *,
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
) -> None:
    for batch in islice(batches, steps):
        backward(model(batch["latents"]))
        optimizer.step()
        optimizer.zero_grad()


RUNS = {one.__name__: one for one in (plain, fsdp2, fabric, accelerate, lightning, transformers)}


def measure(name: str, folder: Path, kind: str, steps: int) -> None:
    """Run one framework on this rank, and have rank 0 write its median step in ms."""
    torch.set_num_threads(1)
    called_s = RUNS[name](folder, kind, steps).called_s
    took_s = [after - before for before, after in pairwise(called_s)]
    if os.environ["RANK"] == "0":
        (folder / "figure.json").write_text(
            json.dumps(1e3 * statistics.median(took_s[NUM_SKIPPED:]))
        )
    if dist.is_initialized():
        dist.destroy_process_group()


def median_step_ms(name: str, folder: Path, kind: str, steps: int) -> float:
    """Start two ranks of one framework and return rank 0's median step."""
    environment = dict(
        os.environ, OMP_NUM_THREADS="1", ACCELERATE_USE_CPU="1", HF_HUB_OFFLINE="1",
        PYTHONPATH=str(Path.cwd()),
    )  # fmt: skip
    command = [*TORCHRUN, __file__, "--one", name, kind, str(folder), "--steps", str(steps)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} with {kind}:\n{done.stderr[-3000:]}")
    figure: float = json.loads((folder / "figure.json").read_text())
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table: a step in each framework, and its ratios in the same round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--only", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--one", nargs=3, metavar=("NAME", "KIND", "FOLDER"))
    asked = parser.parse_args(arguments)
    if asked.one:
        name, kind, folder = asked.one
        measure(name, Path(folder), kind, asked.steps)
        return
    with tempfile.TemporaryDirectory() as place:
        make_store(Path(place))
        names = list(dict.fromkeys(["plain", *asked.only]))
        rounds = [
            {(name, kind): median_step_ms(name, Path(place), kind, asked.steps)
             for name in names for kind in KINDS}
            for _ in range(asked.rounds)
        ]  # fmt: skip
    print("| framework | step with the loader, ms | to the plain loop | to its own held batch |")
    print("| --- | ---: | ---: | ---: |")
    for name in names:
        step = [each[name, "loader"] for each in rounds]
        to_plain = [each[name, "loader"] / each["plain", "loader"] for each in rounds]
        to_held = [each[name, "loader"] / each[name, "held"] for each in rounds]
        print(f"| {name} | {_spread(step, 1)} | {_spread(to_plain, 3)} | {_spread(to_held, 3)} |")


def _spread(values: list[float], digits: int) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
