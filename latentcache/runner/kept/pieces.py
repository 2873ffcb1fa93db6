"""Pieces of units: how a few large units keep many encoders busy to the end of a run.

A unit's bytes follow from the plan and the encoding alone; who encodes which of its batches
does not. So the units that come last are divided among encoders: each keeps the batches of
its piece (``batch_log``), and whoever joins the pieces commits the unit.
"""

from collections.abc import Callable
from dataclasses import replace

from latentcache.runner.messages.unit_orders import UnitOrder

PIECES_PER_ACTOR = 8
"""The last piece leaves the other encoders idle for an eighth of an actor's share of the last
units at most; each piece costs a small file."""


def num_batches(order: UnitOrder, batch_size: int) -> int:
    """Return how many batches an order is."""
    if order.batches is not None:
        return order.batches[1] - order.batches[0]
    return -(-order.unit.num_rows // batch_size)


def num_rows(order: UnitOrder, batch_size: int) -> int:
    """Return how many rows an order is; the last batch of a unit may be short."""
    if order.batches is None:
        return order.unit.num_rows
    first, last = order.batches
    return min(last * batch_size, order.unit.num_rows) - first * batch_size


def cost_of(order: UnitOrder, batch_size: int) -> int:
    """Return what an order takes beside others: its pixels."""
    return num_rows(order, batch_size) * order.unit.bucket.num_pixels


def split_last_units(
    orders: list[UnitOrder], *, num_actors: int, batch_size: Callable[[UnitOrder], int]
) -> list[UnitOrder]:
    """Return ``orders`` with those that would be done last cut into pieces.

    Args:
        orders: Longest first.
        num_actors: That will share them.
        batch_size: Of an order's unit.
    """
    if num_actors < 2:
        return orders
    longest = max((cost_of(each, batch_size(each)) for each in orders), default=0)
    tail_cost, start = 0, len(orders)
    while start and tail_cost < num_actors * longest:
        start -= 1
        tail_cost += cost_of(orders[start], batch_size(orders[start]))
    limit = max(1, tail_cost // (num_actors * PIECES_PER_ACTOR))
    tail = [piece for each in orders[start:] for piece in _pieces(each, batch_size(each), limit)]
    return orders[:start] + tail


def _pieces(order: UnitOrder, size: int, limit: int) -> list[UnitOrder]:
    """Return ``order`` in pieces of at most ``limit`` pixels, or of one batch."""
    total = num_batches(order, size)
    step = max(1, limit // (size * order.unit.bucket.num_pixels))
    if order.unit.is_long or order.is_careful or total <= step:
        return [order]
    return [
        replace(order, batches=(first, min(first + step, total))) for first in range(0, total, step)
    ]
