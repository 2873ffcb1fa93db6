"""How many threads torch may use while the demo loads and trains."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from latentcache.train import Condition, DiT, flow_loss

_TIMED_STEPS = 4


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Give torch this many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def faster_threads(model: DiT, latents: torch.Tensor, told: Condition) -> int:
    """Return 1 or 2: how many torch threads train ``model`` faster here and now.

    On a machine with other work two were five times slower than one (2 cores, 2026-11-22).
    """
    if (os.cpu_count() or 1) < 2:
        return 1
    seconds = {}
    for num_threads in (1, 2):
        with torch_threads(num_threads):
            _time_step(model, latents, told)
            # Their sum, not the best of them: two threads that wait for each other now and then
            # are what is looked for.
            seconds[num_threads] = sum(
                _time_step(model, latents, told) for _ in range(_TIMED_STEPS)
            )
    return min(seconds, key=lambda number: seconds[number])


def _time_step(model: DiT, latents: torch.Tensor, told: Condition) -> float:
    times = torch.full((len(latents),), 0.5)
    started_s = time.perf_counter()
    loss = flow_loss(model, latents, told, times=times, noise=latents).mean()
    torch.autograd.backward(loss)
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - started_s
