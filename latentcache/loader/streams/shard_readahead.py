"""Fetching what windows will need: the one that is being read, and the next."""

from collections.abc import Sequence

from latentcache.core.errors import ConfigError
from latentcache.loader.order.batch_sizes import Ranks
from latentcache.loader.order.epoch_order import OrderRule, StreamOrder
from latentcache.loader.order.mixture import Member, StepDraw
from latentcache.loader.streams.stream import Stream

_MAX_LOOKS = 256
"""Steps of a window that are looked at to find its shards: each draws from all of them."""


class WindowsAhead:
    """Has shards fetched, or read from disk, a window before they are drawn from."""

    def __init__(
        self, streams: Sequence[Stream], members: Sequence[Member], rule: OrderRule
    ) -> None:
        self._streams, self._members, self._rule = streams, members, rule
        self._orders: dict[int, StreamOrder] = {}

    def fetch(self, draw: StepDraw, part: slice) -> None:
        """Have fetched what the same part of this stream needs one window later.

        When a stream is first drawn from, wherever a run begins or goes on, all that lies
        between is fetched as well, in the order in which it is needed.
        """
        if not self._rule.window_blocks:
            return
        order = self._orders.get(draw.member)
        is_first = order is None
        if order is None:
            order = self._orders[draw.member] = self._own_order(draw.member)
        window = self._rule.window_blocks * order.block_rows * order.num_lanes
        stream = self._streams[draw.member]
        if is_first:
            num_steps = window // draw.count
            for step in range(0, num_steps, max(1, num_steps // _MAX_LOOKS)):
                stream.fetch_ahead(order.draw(draw.position + step * draw.count, draw.count, part))
        stream.fetch_ahead(order.draw(draw.position + window, draw.count, part))

    def _own_order(self, number: int) -> StreamOrder:
        # Not the mixture's: an order remembers where it was read last.
        order = self._members[number].order
        return StreamOrder(order.name, order.num_rows, self._rule, block_rows=order.block_rows)


def check_cache_holds_windows(
    streams: Sequence[Stream], members: Sequence[Member], rule: OrderRule, ranks: Ranks
) -> None:
    """Refuse a cache that would throw out a window's shards while it is read.

    Every one of them would be fetched many times.

    Args:
        streams: Of all sources.
        members: Their orders.
        rule: Says how many shards a window has.
        ranks: How many share the lanes.

    Raises:
        ConfigError: The cache is too small; says what would do.
    """
    needed = 0
    caches = []
    for stream, member in zip(streams, members, strict=True):
        order = member.order
        # With ranks that divide the lanes, each reads its own.
        num_lanes = max(1, order.num_lanes // ranks.world_size)
        if order.num_lanes % ranks.world_size:
            num_lanes = order.num_lanes
        num_blocks = num_lanes * rule.window_blocks
        for column in stream.columns.values():
            if column.cache is not None and rule.window_blocks:
                caches.append(column.cache)
                needed += column.largest_bytes(num_blocks, stream.rows_per_shard)
    smallest = min((cache.max_bytes for cache in caches), default=0)
    if needed > smallest:
        raise ConfigError(
            f"cache_bytes must hold the windows of {len(streams)} streams, {needed} bytes, got "
            f"{smallest} (window_shards={rule.window_blocks}); allow twice as much, or make "
            f"windows smaller"
        )
