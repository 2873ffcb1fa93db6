"""Pieces of units: how a few large units keep many encoders busy to the end of a run.

A unit's bytes follow from the plan and the encoding alone; who encodes which of its batches
does not. So the units that come last are divided among encoders: each keeps the batches of
its piece (``batch_log``), and whoever joins the pieces commits the unit.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from latentcache.runner.messages.unit_orders import UnitOrder, UnitPass

BatchSize = Callable[[UnitOrder], int]
"""Gives the batch size of an order's unit."""

PIECES_PER_ACTOR = 8
"""The last piece leaves the other encoders idle for an eighth of an actor's share of the last
units at most; each piece costs a small file."""


def num_rows(order: UnitOrder, batch_size: int) -> int:
    """Return how many rows an order is; the last batch of a unit may be short."""
    if order.batches is None:
        return order.unit.num_rows
    first, last = order.batches
    return min(last * batch_size, order.unit.num_rows) - first * batch_size


def cost_of(given: UnitPass, batch_size: BatchSize) -> int:
    """Return what a pass takes beside others: the pixels that its encoders see."""
    return sum(num_rows(order, batch_size(order)) * order.unit.bucket.num_pixels for order in given)


def passes_of(orders: Iterable[UnitOrder]) -> list[UnitPass]:
    """Return orders as passes: units of several columns over the same rows go together.

    Rows of a unit are a power of two, so a column's units lie whole within those of another. Long
    clips are decoded by each column alone, and so is what one column alone lacks.
    """
    passes: list[list[UnitOrder]] = []
    end = (-1, 0)
    for order in sorted(orders, key=lambda each: (*_start_of(each), -each.unit.num_rows)):
        if order.unit.is_long:
            passes.append([order])
            continue
        if _start_of(order) >= end:
            passes.append([])
            shard, first_row = _start_of(order)
            end = (shard, first_row + order.unit.num_rows)
        passes[-1].append(order)
    found: list[UnitPass] = []
    for each in passes:
        is_shared = len({order.column for order in each}) > 1
        found += [tuple(each)] if is_shared else [(order,) for order in each]
    return found


def _start_of(order: UnitOrder) -> tuple[int, int]:
    return order.unit.unit.shard, order.unit.first_row


def split_last_units(
    passes: list[UnitPass], *, num_actors: int, batch_size: BatchSize
) -> list[UnitPass]:
    """Return ``passes`` with those that would be done last cut into pieces.

    Args:
        passes: Longest first.
        num_actors: That will share them.
        batch_size: Of an order's unit.
    """
    if num_actors < 2:
        return passes
    longest = max((cost_of(each, batch_size) for each in passes), default=0)
    tail_cost, start = 0, len(passes)
    while start and tail_cost < num_actors * longest:
        start -= 1
        tail_cost += cost_of(passes[start], batch_size)
    limit = max(1, tail_cost // (num_actors * PIECES_PER_ACTOR))
    tail = [piece for each in passes[start:] for piece in _pieces(each, batch_size, limit)]
    return passes[:start] + tail


def _pieces(given: UnitPass, batch_size: BatchSize, limit: int) -> list[UnitPass]:
    """Return a pass in pieces of at most ``limit`` pixels, or of one batch of each column."""
    sizes = {batch_size(order) for order in given}
    first = min(order.unit.first_row for order in given)
    last = max(order.unit.first_row + order.unit.num_rows for order in given)
    size, pixels = max(sizes), cost_of(given, batch_size) / (last - first)
    step = size * max(1, int(limit / (size * pixels)))
    are_nested = len(sizes) == 1 or all(each & (each - 1) == 0 for each in sizes)
    if any(order.unit.is_long or order.is_careful for order in given):
        return [given]
    if not are_nested or last - first <= step:
        return [given]
    return [
        tuple(part for order in given if (part := _part(order, start, start + step, batch_size)))
        for start in range(first, last, step)
    ]


def _part(order: UnitOrder, start: int, stop: int, batch_size: BatchSize) -> UnitOrder | None:
    """Return what lies of an order in some rows of its shard: all, some batches, or nothing."""
    first, num_rows, size = order.unit.first_row, order.unit.num_rows, batch_size(order)
    start, stop = max(0, start - first), min(num_rows, stop - first)
    if start >= stop:
        return None
    if (start, stop) == (0, num_rows):
        return order
    return replace(order, batches=(start // size, -(-stop // size)))
