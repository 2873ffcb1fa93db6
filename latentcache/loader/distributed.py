"""Data-parallel ranks: finding out which we are, and that all of them run the same thing."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch.distributed as dist

from latentcache.core.errors import ConfigError
from latentcache.core.fingerprint import fingerprint
from latentcache.loader.order.batch_sizes import Ranks
from latentcache.loader.run_state import difference
from latentcache.store import Pin


def find_ranks(rank: int | None, world_size: int | None, micro_batches: int) -> Ranks:
    """Return what was given, else what ``torch.distributed`` says, else one rank.

    Raises:
        ConfigError: Only one of the two is given.
    """
    if (rank is None) != (world_size is None):
        raise ConfigError(
            f"rank and world_size must be given together, got {rank} and {world_size}; give both"
        )
    if rank is None or world_size is None:
        rank, world_size = (dist.get_rank(), dist.get_world_size()) if is_grouped() else (0, 1)
    return Ranks(rank=rank, world_size=world_size, micro_batches=micro_batches)


def check_group_is_there() -> None:
    """Refuse to draw as the only rank where a launcher said that there are several.

    Raises:
        ConfigError: There are, and no process group yet.
    """
    launched = os.environ.get("WORLD_SIZE", "1")
    if not is_grouped() and launched.isdigit() and int(launched) > 1:
        raise ConfigError(
            f"process group must be there before batches are drawn, got none with WORLD_SIZE "
            f"{launched}: every rank would draw the same rows; call "
            f"torch.distributed.init_process_group first, or pass rank and world_size"
        )


def share_pins(pins: Sequence[Pin]) -> list[Pin]:
    """Return rank 0's pins on every rank: what was newest there is what all read.

    Raises:
        ConfigError: Ranks differ in how many sources they have.
    """
    if not is_grouped():
        return list(pins)
    everyone = _gathered([str(pin) for pin in pins])
    for rank, theirs in enumerate(everyone):
        if len(theirs) != len(everyone[0]):
            raise ConfigError(
                f"sources must be equal on all ranks, got {len(theirs)} on rank {rank} and "
                f"{len(everyone[0])} on rank 0; start all ranks with the same arguments"
            )
    return [Pin.parse(text) for text in everyone[0]]


def check_agreement(static: Mapping[str, Any], ranks: Ranks) -> None:
    """Compare what this rank is about to do with what the others are.

    Args:
        static: What does not move in the state.
        ranks: Of this process. Neighbours may share a rank, but each rank must be there.

    Raises:
        ConfigError: A rank differs; shows in what, and both sides.
    """
    if not is_grouped():
        return
    parts = {name: fingerprint(value) for name, value in static.items()}
    everyone = _gathered((parts, ranks.rank))
    if any(theirs != everyone[0][0] for theirs, _ in everyone):
        # All ranks see the same digests, so all come here; values are sent only to be shown.
        _refuse(_gathered(dict(static)))
    given = [rank for _, rank in everyone]
    if set(given) != set(range(ranks.world_size)):
        raise ConfigError(
            f"rank must be each of 0 to {ranks.world_size - 1} somewhere, got {given} on the "
            f"processes; pass each process its own data-parallel rank, or none at all"
        )


def _refuse(everyone: Sequence[Mapping[str, Any]]) -> None:
    first = everyone[0]
    for rank, theirs in enumerate(everyone):
        for name in first:
            if fingerprint(theirs.get(name)) != fingerprint(first[name]):
                zeroth, other = difference(first[name], theirs.get(name))
                raise ConfigError(
                    f"{name} must be equal on all ranks, got {zeroth} on rank 0 and {other} on "
                    f"rank {rank}; start all ranks with the same arguments on the same store"
                )


def _gathered(value: Any) -> list[Any]:
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, value)
    return everyone


def is_first(ranks: Ranks) -> bool:
    """Return whether this process speaks for all: several may share data-parallel rank 0."""
    return dist.get_rank() == 0 if is_grouped() else ranks.rank == 0


def is_grouped() -> bool:
    """Return whether this process is in a process group."""
    return dist.is_available() and dist.is_initialized()
