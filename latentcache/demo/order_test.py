"""The demo's order test: the same steps on 1, 2 and 4 ranks, and after a resume."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from latentcache.demo.page.training_facts import OrderRun, OrderTest
from latentcache.loader import Batch, LatentLoader

NUM_STEPS = 20
BATCH_SIZE = 8
_RESUMED_AT = 10

Ids = tuple[tuple[int, ...], ...]


def compare_orders(store: Path, *, seed: int = 0) -> OrderTest:
    """Return the ids of the first steps under several numbers of ranks, and across a resume."""
    runs = [
        OrderRun(name=_ranks_in_words(size), steps=_steps(_loaders(store, size, seed), NUM_STEPS))
        for size in (1, 2, 4)
    ]
    runs.append(_resumed(store, seed))
    return OrderTest(runs=tuple(runs), batch_size=BATCH_SIZE)


def _resumed(store: Path, seed: int) -> OrderRun:
    """Return a run of two ranks that stops half-way and goes on with four."""
    first = _loaders(store, 2, seed)
    before = _steps(first, _RESUMED_AT)
    # As a checkpoint would keep it: text, and nothing else survives.
    state = json.dumps(first[0].state_dict())
    later = _loaders(store, 4, seed)
    for loader in later:
        loader.load_state_dict(json.loads(state))
    steps = before + _steps(later, NUM_STEPS - _RESUMED_AT)
    return OrderRun(name="2 ranks, resumed on 4", steps=steps, resumed_at=_RESUMED_AT)


def _loaders(store: Path, world_size: int, seed: int) -> list[LatentLoader]:
    return [
        LatentLoader(
            str(store),
            columns=["latents"],
            global_batch_size=BATCH_SIZE,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        for rank in range(world_size)
    ]


def _steps(loaders: list[LatentLoader], num_steps: int) -> tuple[Ids, ...]:
    """Return ids per step and rank."""
    ranks = [islice(_rows(loader), num_steps) for loader in loaders]
    return tuple(zip(*ranks, strict=True))


def _rows(loader: LatentLoader) -> Iterator[tuple[int, ...]]:
    for batch in loader:
        yield _ids(batch)


def _ids(batch: Batch) -> tuple[int, ...]:
    return tuple(int(one) for one in batch["row"])


def _ranks_in_words(world_size: int) -> str:
    return f"{world_size} rank{'s' if world_size > 1 else ''}"
