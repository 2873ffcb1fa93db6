"""Order version 1 of windows of shards: blocks of the average number of selected rows.

Kept for the runs that were started with it. Under a filter such blocks drift across the borders of
the shards, which are then fetched more than once an epoch; ``shard_windows`` took its place.
"""

import numpy as np

from latentcache.loader.order.feistel import Indices, keyed_permutation


def windowed_rows(
    places: Indices,
    *,
    num_rows: int,
    block_rows: int,
    window_blocks: int,
    key: tuple[int, str, int],
) -> Indices:
    """Return the rows at some places of an epoch that shuffles blocks, then rows in windows.

    Args:
        places: In ``range(num_rows)``.
        num_rows: Of the lane.
        block_rows: Rows of every block but the last.
        window_blocks: Blocks of every window but the last.
        key: (seed, lane, epoch).
    """
    num_blocks = -(-num_rows // block_rows)
    blocks = keyed_permutation(num_blocks, *key, "blocks")
    # Only the last block is short, by ``deficit``, and it may come anywhere: places after
    # it are shifted as if it were full, and rows are found by division again.
    deficit = num_blocks * block_rows - num_rows
    short_at = int(blocks.inverse(np.array([num_blocks - 1]))[0])
    span = window_blocks * block_rows
    short_window = short_at // window_blocks
    shifted = places + np.where(places >= (short_window + 1) * span - deficit, deficit, 0)
    windows = shifted // span
    rows = np.empty_like(places)
    for window in np.unique(windows).tolist():
        now = windows == window
        start = window * span - (deficit if window > short_window else 0)
        size = min(span, num_blocks * block_rows - window * span)
        size -= deficit if window == short_window else 0
        inner = keyed_permutation(size, *key, "rows", window)(places[now] - start)
        if window == short_window:
            boundary = (short_at - window * window_blocks + 1) * block_rows - deficit
            inner += np.where(inner >= boundary, deficit, 0)
        block, row = np.divmod(inner, block_rows)
        rows[now] = blocks(window * window_blocks + block) * block_rows + row
    return rows
