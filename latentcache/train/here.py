"""A run on this machine: the process group that ``torchrun`` asks for, and signals."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist

from latentcache.core.errors import ConfigError
from latentcache.train.fitting import find_device
from latentcache.train.rank_group import shared
from latentcache.train.session import RunFolder, Session, SessionResult
from latentcache.train.train_recipe import TrainRecipe
from latentcache.train.trainer import Trainer

_GROUP_TIMEOUT = timedelta(minutes=30)


def train_here(
    recipe: TrainRecipe,
    *,
    resume: bool,
    tell: Callable[[str], None],
    draw: Callable[[Trainer, Path], None],
) -> SessionResult:
    """Return what this process's part of a run came to.

    Under ``torchrun`` (which sets RANK, WORLD_SIZE and LOCAL_RANK) all ranks train together.
    SIGINT and SIGTERM end the run after the next step, with a checkpoint.

    Args:
        recipe: Of the run.
        resume: Go on from the newest checkpoint, if there is one.
        tell: Shows a line to a person; rank 0's.
        draw: Writes a picture of samples; on rank 0.
    """
    device = choose_device(recipe.device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    with process_group(device):
        trainer = trainer_of(recipe, device, resume=resume)
        with stopped_by_signals(trainer.stop):
            return Session(recipe, trainer, tell=tell, draw=draw).run(resume=resume)


def trainer_of(recipe: TrainRecipe, device: torch.device, *, resume: bool) -> Trainer:
    """Return the trainer of this rank: of a run that goes on, for what it was trained on.

    Args:
        recipe: Of the run.
        device: Of this rank.
        resume: Go on from the newest checkpoint, if there is one; rank 0 looks for all.
    """
    newest = shared(RunFolder(Path(recipe.out)).newest()) if resume else None
    return recipe.make_trainer(device, newest=newest)


def choose_device(name: str, *, local_rank: int = 0) -> torch.device:
    """Return the device of a rank: with ``auto``, its GPU if the machine has any.

    Raises:
        ConfigError: It is not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu or cuda, got {name!r} (recipe); correct it")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    device = find_device(f"cuda:{local_rank}")
    torch.cuda.set_device(device)
    return device


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Hold the process group that the environment asks for, if it asks for any."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_GROUP_TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on SIGINT and SIGTERM; a second SIGINT interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, _frame: FrameType | None) -> None:
        stop()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
