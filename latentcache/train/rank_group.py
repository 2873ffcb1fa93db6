"""What ranks do together: add up, collect, and let the first one write."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from latentcache.core.errors import RunError

ItemT = TypeVar("ItemT")


def world() -> tuple[int, int]:
    """Return this process's rank and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def in_parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the model as ranks train it together; itself where there is one rank."""
    if world()[1] == 1:
        return model
    ids = [device.index or 0] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(
        model, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
    )


def summed(values: Tensor) -> Tensor:
    """Return the sum over ranks."""
    if world()[1] > 1:
        dist.all_reduce(values)
    return values


def collected(items: list[ItemT]) -> list[ItemT]:
    """Return all ranks' items on every rank, in the order of ranks."""
    if world()[1] == 1:
        return items
    everyone: list[Any] = [None] * world()[1]
    dist.all_gather_object(everyone, items)
    return [item for theirs in everyone for item in theirs]


def shared(value: ItemT) -> ItemT:
    """Return rank 0's value on every rank."""
    held: list[Any] = [value]
    if world()[1] > 1:
        dist.broadcast_object_list(held, src=0)
    found: ItemT = held[0]
    return found


def on_first_rank(action: Callable[[], None]) -> None:
    """Do something on rank 0 while the others wait; if it fails, all of them fail.

    Raises:
        RunError: It failed on rank 0; on rank 0 itself the original error is raised.
    """
    failure: str | None = None
    error: Exception | None = None
    if world()[0] == 0:
        try:
            action()
        except Exception as caught:  # noqa: BLE001  raised again below, once the others know
            error, failure = caught, str(caught)
    told = shared(failure)
    if error is not None:
        raise error
    if told is not None:
        raise RunError(f"rank 0 must finish for all to go on, got: {told}")
