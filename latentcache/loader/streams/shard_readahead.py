"""Fetching what windows will need: the one that is being read, and the next."""

from collections.abc import Sequence

import numpy as np

from latentcache.core.errors import ConfigError
from latentcache.loader.order.batch_sizes import Ranks
from latentcache.loader.order.epoch_order import OrderRule, StreamOrder
from latentcache.loader.order.mixture import Member, StepDraw
from latentcache.loader.order.shard_windows import Span, WindowView
from latentcache.loader.streams.stream import Stream

_MAX_LOOKS = 256
"""Steps of a window of order version 1 that are looked at to find its shards."""


class WindowsAhead:
    """Has shards fetched, or read from disk, a window before they are drawn from."""

    def __init__(
        self, streams: Sequence[Stream], members: Sequence[Member], rule: OrderRule
    ) -> None:
        self._streams, self._members, self._rule = streams, members, rule
        self._orders: dict[int, StreamOrder] = {}
        self._entered: dict[tuple[int, int], tuple[int, int, int]] = {}

    def fetch(self, draw: StepDraw, part: slice) -> None:
        """Have fetched what a part of a global batch needs, and then of the next window as large a
        share as has been read of this one: so no more than two windows' shards are ever needed.
        """
        if not self._rule.window_blocks:
            return
        if self._rule.version == 1:
            self._fetch_first_version(draw, part)
            return
        order = self._members[draw.member].order
        for lane, view in order.windows_at(draw.position, draw.count, part).items():
            self._follow((draw.member, lane), view)

    def _follow(self, lane: tuple[int, int], view: WindowView) -> None:
        epoch, window, num_asked = self._entered.get(lane, (-1, -1, 0))
        if (epoch, window) != (view.epoch, view.window):
            # Also those that are there: they are used now, and others are to go before them.
            self._ask(lane[0], view.blocks)
            num_asked = 0
        num_due = min(len(view.following), int(view.share * len(view.following)) + 1)
        self._ask(lane[0], view.following[num_asked:num_due])
        self._entered[lane] = (view.epoch, view.window, max(num_asked, num_due))

    def _ask(self, member: int, spans: Sequence[Span]) -> None:
        stream = self._streams[member]
        for start, stop in spans:
            rows = stream.present_rows(np.arange(start, stop))
            for column in stream.columns.values():
                column.ask(rows)

    def _fetch_first_version(self, draw: StepDraw, part: slice) -> None:
        """Have fetched what the same part of the stream needs one window later.

        When a stream is first drawn from, all that lies between is fetched as well.
        """
        order = self._orders.get(draw.member)
        is_first = order is None
        if order is None:
            # Not the mixture's: an order remembers where it was read last.
            theirs = self._members[draw.member].order
            order = StreamOrder(
                theirs.name, theirs.num_rows, self._rule, block_rows=theirs.block_rows
            )
            self._orders[draw.member] = order
        window = self._rule.window_blocks * order.block_rows * order.num_lanes
        stream = self._streams[draw.member]
        if is_first:
            num_steps = window // draw.count
            for step in range(0, num_steps, max(1, num_steps // _MAX_LOOKS)):
                stream.fetch_ahead(order.draw(draw.position + step * draw.count, draw.count, part))
        stream.fetch_ahead(order.draw(draw.position + window, draw.count, part))


def check_cache_holds_windows(
    streams: Sequence[Stream], members: Sequence[Member], rule: OrderRule, ranks: Ranks
) -> None:
    """Refuse a cache that would throw out a window's shards while it is read.

    Every one of them would be fetched many times. The next window is fetched while one is read.

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
    num_windows = 1 if rule.version == 1 else 2
    for stream, member in zip(streams, members, strict=True):
        order = member.order
        # With ranks that divide the lanes, each reads its own.
        num_lanes = max(1, order.num_lanes // ranks.world_size)
        if order.num_lanes % ranks.world_size:
            num_lanes = order.num_lanes
        num_blocks = num_lanes * rule.window_blocks * num_windows
        for column in stream.columns.values():
            if column.cache is not None and rule.window_blocks:
                caches.append(column.cache)
                needed += column.largest_bytes(num_blocks, stream.rows_per_shard)
    smallest = min((cache.max_bytes for cache in caches), default=0)
    if needed > smallest:
        raise ConfigError(
            f"cache_bytes must hold the windows of {len(streams)} streams, those that are read and "
            f"the next, {needed} bytes, got {smallest} (window_shards={rule.window_blocks}); "
            f"allow as much, or make windows smaller"
        )
