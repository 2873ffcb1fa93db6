"""Data-parallel ranks: finding out which we are, and that all of them run the same thing."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.distributed as dist

from latentcache.core.errors import ConfigError
from latentcache.core.fingerprint import canonical_json, fingerprint
from latentcache.loader.batches import Ranks
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
        rank, world_size = (dist.get_rank(), dist.get_world_size()) if _is_distributed() else (0, 1)
    return Ranks(rank=rank, world_size=world_size, micro_batches=micro_batches)


def share_pins(pins: Sequence[Pin]) -> list[Pin]:
    """Return rank 0's pins on every rank: what was newest there is what all read."""
    if not _is_distributed():
        return list(pins)
    shared: list[Any] = [[str(pin) for pin in pins]]
    dist.broadcast_object_list(shared, src=0)
    return [Pin.parse(text) for text in shared[0]]


def check_agreement(static: Mapping[str, Any]) -> None:
    """Compare what this rank is about to do with what the others are.

    Raises:
        ConfigError: A rank differs; shows in what, and both sides.
    """
    if not _is_distributed():
        return
    parts = {name: fingerprint(value) for name, value in static.items()}
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, parts)
    for rank, theirs in enumerate(everyone):
        for name, digest in theirs.items():
            if digest != parts.get(name):
                ours = canonical_json(static.get(name))[:200]
                raise ConfigError(
                    f"{name} must be equal on all ranks, got {digest[:12]} on rank {rank} and "
                    f"{parts.get(name, 'none')[:12]} ({ours}) on rank {dist.get_rank()}; start "
                    f"all ranks with the same arguments on the same store"
                )


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
