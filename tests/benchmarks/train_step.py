"""A DiT's training step fed by the loader against the same step on a batch held in memory.

    python -m tests.benchmarks.train_step [--device cuda] [--size base] [--batch-size 256]

Two trainers with equal weights take turns of some steps each: one reads a store of 4x32x32
float16 latents, the other is handed one batch, already normalized and on the device, again and
again. The figure is the median over the pairs of turns of (seconds with the loader / seconds
without), with quartiles. The store is in the page cache. Not a test.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentcache.loader import LatentLoader
from latentcache.testing.synthetic import synthetic_store
from latentcache.train import DiT, DiTConfig, Trainer, TrainOptions

SIZES = {"tiny": (128, 3, 4), "small": (384, 12, 6), "base": (768, 12, 12)}
"""Width, depth and heads; the last two are DiT-S and DiT-B (Peebles and Xie, 2022)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Seconds per step of every turn, and what the trainer itself says about waiting."""

    with_loader: list[float]
    in_memory: list[float]
    wait_share: float


class Held:
    """A loader's facts, and its first batch for ever."""

    def __init__(self, loader: LatentLoader) -> None:
        self._loader = loader
        self._batch = next(iter(loader))
        # Whatever is read when it is first looked at is read now.
        for name in self._batch:
            _ = self._batch[name]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield self._batch


def make_trainer(options: argparse.Namespace, url: str, *, is_held: bool) -> Trainer:
    """Return a trainer of a fresh model; both kinds have equal weights."""
    torch.manual_seed(0)
    width, depth, heads = SIZES[options.size]
    model = DiT(DiTConfig(channels=4, width=width, depth=depth, num_heads=heads))
    device = torch.device(options.device)
    loader: Any = LatentLoader(
        url,
        columns=["latents"],
        global_batch_size=options.batch_size,
        rank=0,
        world_size=1,
        device=device,
    )
    settings = TrainOptions(
        num_steps=1 << 30,
        learning_rate=1e-4,
        precision="bfloat16" if device.type == "cuda" else "float32",
    )
    return Trainer(model, Held(loader) if is_held else loader, settings, device=device)  # type: ignore[arg-type]


def take_turns(options: argparse.Namespace, url: str) -> Turns:
    """Return what both trainers took, turn by turn; the first pair warms up."""
    fed = make_trainer(options, url, is_held=False)
    held = make_trainer(options, url, is_held=True)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    shares: list[float] = []
    for pair in range(options.pairs + 1):
        # Who goes first changes, so that a drift of the machine counts for neither.
        for is_fed in (True, False) if pair % 2 else (False, True):
            took = _turn(fed if is_fed else held, options, shares if is_fed else [])
            if pair:
                seconds[is_fed].append(took)
    return Turns(
        with_loader=seconds[True], in_memory=seconds[False], wait_share=statistics.median(shares)
    )


def _turn(trainer: Trainer, options: argparse.Namespace, shares: list[float]) -> float:
    """Return seconds per step of one turn."""
    facts: list[float] = []
    _wait_for_device(options.device)
    began = time.perf_counter()
    trainer.run(
        until_step=trainer.step + options.steps,
        on_step=lambda one: facts.append(one.loader_wait_share),
    )
    _wait_for_device(options.device)
    shares.append(facts[-1])
    return (time.perf_counter() - began) / options.steps


def _wait_for_device(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def main() -> None:
    """Print a line of a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    is_cuda = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if is_cuda else "cpu")
    parser.add_argument("--size", choices=list(SIZES), default="base" if is_cuda else "tiny")
    parser.add_argument("--batch-size", type=int, default=256 if is_cuda else 16)
    parser.add_argument("--steps", type=int, default=10, help="of a turn")
    parser.add_argument("--pairs", type=int, default=11, help="of turns")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on the processor")
    parser.add_argument("--num-samples", type=int, default=20_000)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="train-step-") as scratch:
        url = str(Path(scratch) / "store")
        synthetic_store(url, num_samples=options.num_samples)
        turns = take_turns(options, url)
    ratios = [fed / held for fed, held in zip(turns.with_loader, turns.in_memory, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    device = torch.cuda.get_device_name() if options.device.startswith("cuda") else "CPU"
    print("| device | DiT | batch | ms a step, in memory | with the loader | ratio | waiting |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| {device} | {options.size} | {options.batch_size} "
        f"| {1e3 * statistics.median(turns.in_memory):.1f} "
        f"| {1e3 * statistics.median(turns.with_loader):.1f} "
        f"| {middle:.3f} ({low:.3f} to {high:.3f}) | {turns.wait_share:.2%} |"
    )


if __name__ == "__main__":
    main()
