"""Where a window of a clip begins: drawn for each sample and draw, all places equally often.

A sample that is drawn as often as its clip has places has every one of them once, in an order of
its own; then again in another. It depends on nothing but (seed, stream, sample, draw), and for a
stand-in on the row that it replaces.
"""

import math
from functools import lru_cache

import numpy as np

from latentcache.core.seeds import keyed_uint64
from latentcache.loader.order.feistel import Indices, mix, mixed_where

_INCREMENT = 0x9E3779B97F4A7C15
_GOLDEN = (math.sqrt(5) - 1) / 2


def window_starts(
    numbers: Indices,
    draws: Indices,
    num_starts: Indices,
    *,
    key: tuple[int, *tuple[str, ...]],
    replaced: Indices | None = None,
) -> Indices:
    """Return the first latent frame of each row's window.

    Args:
        numbers: Of the rows in the plan, which never change.
        draws: How often each was drawn before.
        num_starts: Places there are for a window in each row's clip.
        key: Seed of the run, and names.
        replaced: 1 + the row that each stands in for, 0 where it stands in for none.
    """
    cycles, places = np.divmod(draws, num_starts)
    mixed = np.full(len(numbers), keyed_uint64(*key), np.uint64)
    for word in (numbers, cycles):
        mixed = mix(mixed ^ word.astype(np.uint64), _INCREMENT)
    if replaced is not None:
        mixed = mixed_where(mixed, replaced)
    first = (mixed % num_starts.astype(np.uint64)).astype(np.int64)
    distinct, which = np.unique(num_starts, return_inverse=True)
    by_count: Indices = np.array([_step(count) for count in distinct.tolist()], np.int64)
    steps = by_count[which]
    starts: Indices = np.mod(first + places * steps, num_starts)
    return starts


@lru_cache(maxsize=4096)
def _step(count: int) -> int:
    """Return a stride prime to ``count``, near the golden section, which spreads neighbours."""
    step = max(1, round(count * _GOLDEN))
    while math.gcd(step, count) > 1:
        step += 1
    return step
