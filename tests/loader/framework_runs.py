"""What each framework does with the loader, on one rank of several: run by test_framework_promises.

    torchrun --nproc-per-node 2 framework_runs.py NAME FOLDER

Two epochs in micro-batches, a stop in the middle of the second, new objects that go on from what
was saved, and a validation before, between, after the resume and at the end. Each rank writes what
it saw, a line of JSON for each batch.
"""

# ruff: noqa: PLC0415, ARG002  a framework is loaded where it is tried

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from latentcache.loader import Batch, LatentLoader, Source

NUM_ROWS, NUM_HELD_OUT, BATCH, MICRO = 80, 13, 16, 2
PER_EPOCH = NUM_ROWS // BATCH
STOP, LAST = 7, 2 * PER_EPOCH
"""Steps: the stop is in the second epoch's middle."""
CUT = 3
"""Steps after which Lightning's limit on batches would end an epoch."""


class Seen:
    """Writes what this rank saw."""

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / f"{name}.{os.environ['RANK']}.jsonl"
        self._file = path.open("w", encoding="utf-8", buffering=1)

    def note(self, **facts: Any) -> None:
        self._file.write(json.dumps(facts) + "\n")

    def trained(self, batch: Batch, kind: str = "train") -> None:
        """Note a micro-batch; one that a framework rebuilt has no facts."""
        self.note(kind=kind, rows=batch["row"].tolist(), seeds=batch["noise_seed"].tolist())

    def held_out(self, batch: Batch, when: str) -> None:
        rows = batch["row"][batch["mask"]].tolist()
        seeds = batch["noise_seed"][batch["mask"]].tolist()
        self.note(kind="val", when=when, rows=rows, seeds=seeds)


class Tiny(nn.Module):
    """The mean of the latents, weighted."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Linear(4, 1)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = self.weight(latents.mean(dim=(2, 3))).square().mean()
        return loss


def training(folder: Path, **options: Any) -> LatentLoader:
    given = {"global_batch_size": BATCH, "micro_batches": MICRO, "columns": ["latents", "label"]}
    return LatentLoader(Source(store=folder / "store", filter="fold == 0"), **(given | options))


def held_out(folder: Path) -> LatentLoader:
    source = Source(store=folder / "store", filter="fold == 1")
    return LatentLoader(source, global_batch_size=4, one_pass=True)


def validate(loader: LatentLoader, seen: Seen, when: str) -> None:
    for batch in loader:
        seen.held_out(batch, when)


def ddp(folder: Path, seen: Seen) -> None:
    """Both loaders are made before the process group, as scripts do."""
    loader, val = training(folder), held_out(folder)
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    path = folder / "ddp.pt"
    for until in (STOP, LAST):
        torch.manual_seed(0)
        model = nn.parallel.DistributedDataParallel(Tiny())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if until == LAST:
            loader, saved = training(folder), torch.load(path)
            model.module.load_state_dict(saved["model"])
            loader.load_state_dict(saved["loader"])
        validate(val, seen, f"before {until}")
        for batch in loader:
            seen.trained(batch)
            is_last = batch.facts.micro == MICRO - 1
            with torch.enable_grad() if is_last else model.no_sync():
                (model(batch["latents"]) / MICRO).backward()
            if not is_last:
                continue
            optimizer.step()
            optimizer.zero_grad()
            seen.note(kind="step")
            if loader.step == PER_EPOCH:
                validate(val, seen, "between")
            if loader.step == until:
                break
        if dist.get_rank() == 0:
            torch.save({"model": model.module.state_dict(), "loader": batch.state}, path)
        dist.barrier()
    validate(val, seen, "end")


def fsdp2(folder: Path, seen: Seen) -> None:
    """The loader goes into a distributed checkpoint, which loads after the store has grown."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from latentcache.core.media import Bucket
    from latentcache.store import Store
    from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation

    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),), mesh_dim_names=("dp",))
    val = held_out(folder)
    for until in (STOP, LAST):
        source = Source(store=folder / "store", filter="fold == 0")
        loader = LatentLoader.from_mesh(
            source, mesh, global_batch_size=BATCH, micro_batches=MICRO, columns=["latents", "label"]
        )
        model = Tiny()
        fully_shard(model, mesh=mesh["dp"])
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        if until == LAST:
            weights, moments = get_state_dict(model, optimizer)
            saved = {"model": weights, "optimizer": moments, "loader": loader}
            dcp.load(saved, checkpoint_id=folder / "fsdp2")
            set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)
            assert loader.step == STOP
        validate(val, seen, f"before {until}")
        for batch in loader:
            seen.trained(batch)
            is_last = batch.facts.micro == MICRO - 1
            model.set_requires_gradient_sync(is_last)
            (model(batch["latents"]) / MICRO).backward()
            if not is_last:
                continue
            optimizer.step()
            optimizer.zero_grad()
            seen.note(kind="step")
            if loader.step == until:
                break
        if until == LAST:
            break
        weights, moments = get_state_dict(model, optimizer)
        state = {"model": weights, "optimizer": moments, "loader": loader}
        dcp.save(state, checkpoint_id=folder / "fsdp2")
        if dist.get_rank() == 0:  # another generation in two buckets: more streams than before
            store = Store.open(folder / "store")
            add_generation(store, [(Bucket(1, 64, 64), 20, 8), (Bucket(1, 32, 96), 20, 8)])
            add_column(store, SyntheticColumn())
        dist.barrier()
    validate(val, seen, "end")


def titan(folder: Path, seen: Seen) -> None:
    """torchtitan's pattern: a Stateful data loader of (inputs, labels) beside a Stateful step."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.stateful import Stateful

    class Latents(Stateful):
        def __init__(self) -> None:
            self.loader = training(folder)

        def __iter__(self) -> Any:
            for batch in self.loader:
                yield {"input": batch["latents"], "batch": batch}, batch["label"]

        def state_dict(self) -> dict[str, Any]:
            return self.loader.state_dict()

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.loader.load_state_dict(state)

    class TrainState(Stateful):
        step = 0

        def state_dict(self) -> dict[str, Any]:
            return {"step": torch.tensor(self.step, dtype=torch.int32)}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.step = int(state["step"])

    dist.init_process_group("gloo")
    val = held_out(folder)
    for until in (STOP, LAST):
        model, data, progress = Tiny(), Latents(), TrainState()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        states = {"model": model.state_dict(), "train_state": progress, "dataloader": data}
        if until == LAST:
            dcp.load(states, checkpoint_id=folder / "titan")
        validate(val, seen, f"before {until}")
        batches = iter(data)
        while progress.step < until:
            for _ in range(MICRO):
                inputs, labels = next(batches)
                assert len(labels) == len(inputs["input"])
                seen.trained(inputs["batch"])
                (model(inputs["input"]) / MICRO).backward()
            optimizer.step()
            optimizer.zero_grad()
            seen.note(kind="step")
            progress.step += 1
        dcp.save(states, checkpoint_id=folder / "titan")
    validate(val, seen, "end")


def fabric(folder: Path, seen: Seen) -> None:
    """The loader is an object of the checkpoint; it is not set up."""
    from lightning.fabric import Fabric

    loader, val = training(folder), held_out(folder)
    runs = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    runs.launch()
    for until in (STOP, LAST):
        plain = Tiny()
        model, optimizer = runs.setup(plain, torch.optim.SGD(plain.parameters(), lr=0.1))
        if until == LAST:
            loader = training(folder)
            state = {"model": model, "optimizer": optimizer, "loader": loader}
            runs.load(folder / "fabric.ckpt", state)
        validate(val, seen, f"before {until}")
        for batch in loader:
            seen.trained(batch)
            is_last = batch.facts.micro == MICRO - 1
            with runs.no_backward_sync(model, enabled=not is_last):
                runs.backward(model(batch["latents"]) / MICRO)
            if not is_last:
                continue
            optimizer.step()
            optimizer.zero_grad()
            seen.note(kind="step")
            if loader.step == until:
                break
        state = {"model": model, "optimizer": optimizer, "loader": loader}
        runs.save(folder / "fabric.ckpt", state)
    validate(val, seen, "end")


def accelerate(folder: Path, seen: Seen) -> None:
    """The loader is made above the Accelerator, and prepared, which leaves it as it is."""
    from accelerate import Accelerator

    loader, val = training(folder), held_out(folder)
    for until in (STOP, LAST):
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=MICRO)
        plain = Tiny()
        optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
        if until == LAST:
            loader = training(folder)
        model, optimizer, loader, val = accelerator.prepare(plain, optimizer, loader, val)
        accelerator.register_for_checkpointing(loader)
        if until == LAST:
            accelerator.load_state(folder / "accelerate")
        validate(val, seen, f"before {until}")
        for batch in loader:
            seen.trained(batch)
            with accelerator.accumulate(model):
                accelerator.backward(model(batch["latents"]))
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                seen.note(kind="step")
                if loader.step == until:
                    break
        accelerator.save_state(folder / "accelerate")
    validate(val, seen, "end")


def lightning(folder: Path, seen: Seen) -> None:
    """Lightning saves the loader; it validates by itself, and never as it would by a DataLoader."""
    import lightning as pl

    from latentcache.core.errors import ConfigError
    from latentcache.loader.frameworks import WholeSteps

    class Module(pl.LightningModule):
        kind = "train"

        def __init__(self) -> None:
            super().__init__()
            self.model = Tiny()

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            seen.trained(batch, self.kind)
            loss: torch.Tensor = self.model(batch["latents"])
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            when = "sanity" if self.trainer.sanity_checking else f"step {self.global_step}"
            if self.kind == "train":  # others have limits of their own
                seen.held_out(batch, when)

        def optimizer_step(self, *arguments: Any, **named: Any) -> None:
            super().optimizer_step(*arguments, **named)
            if self.kind == "train":
                seen.note(kind="step")

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def trainer(**options: Any) -> pl.Trainer:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        given = {"accelerator": "cpu", "devices": 2, "strategy": "ddp", "num_sanity_val_steps": -1}
        given |= {"accumulate_grad_batches": MICRO, "enable_model_summary": False}
        given |= {"max_epochs": 2, "use_distributed_sampler": False}
        return pl.Trainer(**(given | quiet | options), callbacks=[WholeSteps()])

    def fit(runs: pl.Trainer, loader: LatentLoader, **options: Any) -> Module:
        module = Module()
        module.kind = options.pop("kind", "train")
        runs.fit(module, loader, held_out(folder), **options)
        return module

    path = folder / "lightning.ckpt"

    class Stop(pl.Callback):
        """Saves in the middle of an epoch: at max_steps Lightning takes the epoch for done."""

        def on_train_batch_end(self, runs: Any, *_rest: Any) -> None:
            if runs.global_step == STOP and not path.exists():
                runs.save_checkpoint(path)
                runs.should_stop = True

    first = trainer()
    first.callbacks.append(Stop())
    fit(first, training(folder))
    fit(trainer(), training(folder), ckpt_path=path)

    # A hook that returns the same loader each time goes on where it stood.
    again = trainer(reload_dataloaders_every_n_epochs=1, limit_val_batches=0)
    fit(again, training(folder), kind="reloaded")
    # The same batch in each epoch: a pass begins anew.
    source = Source(store=folder / "store", filter="fold == 0")
    one_batch = LatentLoader(source, global_batch_size=BATCH, one_pass=True)
    overfit = trainer(overfit_batches=1, accumulate_grad_batches=1, max_epochs=3)
    fit(overfit, one_batch, kind="overfit")
    for options in ({"limit_train_batches": 5}, {"accumulate_grad_batches": 1}):
        try:
            fit(trainer(**options), training(folder), kind="refused")
        except ConfigError as error:
            seen.note(kind="error", text=str(error))


def transformers(folder: Path, seen: Seen) -> None:
    """The mixin has Trainer take the loader as it is."""
    import transformers as hf

    from latentcache.core.errors import ConfigError
    from latentcache.loader.frameworks import FromLatents

    class Trainer(FromLatents, hf.Trainer):  # type: ignore[misc]  # untyped
        when = ""

        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> torch.Tensor:
            if "mask" in inputs:
                seen.held_out(inputs, self.when)
            else:
                seen.trained(inputs)
            loss: torch.Tensor = model(inputs["latents"])
            return loss

    class Steps(hf.TrainerCallback):
        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            seen.note(kind="step")

    def make(loader: LatentLoader, **options: Any) -> Trainer:
        given = {
            "output_dir": str(folder / "transformers"),
            "gradient_accumulation_steps": MICRO,
            "num_train_epochs": 2,
            "save_steps": STOP,
            "use_cpu": True,
            "report_to": [],
            "disable_tqdm": True,
            "logging_strategy": "no",
        }
        arguments = hf.TrainingArguments(**(given | options))
        return Trainer(
            Tiny(),
            arguments,
            train_dataset=loader,
            eval_dataset=held_out(folder),
            callbacks=[Steps()],
        )

    for until in (STOP, LAST):
        runs = make(training(folder), max_steps=until)
        runs.when = f"before {until}"
        runs.evaluate()
        runs.train(resume_from_checkpoint=until == LAST)
        runs.when = f"after {until}"
        metrics = runs.evaluate()
        assert 0 < metrics["eval_loss"] < float("inf")
    try:
        make(training(folder), gradient_accumulation_steps=1).train()
    except ConfigError as error:
        seen.note(kind="error", text=str(error))
    try:
        hf.Trainer(Tiny(), runs.args, train_dataset=training(folder)).train()
    except ConfigError as error:
        seen.note(kind="error", text=str(error))


def ray_train(folder: Path, seen: Seen) -> None:
    """Ray starts the ranks and their process group; the loop in them is DDP's."""
    ddp(folder, seen)


RUNS = {
    one.__name__: one
    for one in (ddp, fsdp2, titan, fabric, accelerate, lightning, transformers, ray_train)
}


def start_on_ray(folder: Path) -> None:
    """Start two workers of Ray Train, on this machine alone."""
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    def work(_: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        ray_train(folder, Seen(folder, "ray_train"))

    ray.init(
        "local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=2**27,
        _node_ip_address="127.0.0.1",
    )
    TorchTrainer(
        work,
        train_loop_config={},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(name="promise", storage_path=str(folder / "ray")),
    ).fit()


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[2])
    if sys.argv[1] == "ray_train":
        start_on_ray(place)
    else:
        RUNS[sys.argv[1]](place, Seen(place, sys.argv[1]))
    if dist.is_initialized():
        dist.destroy_process_group()
