"""The fast path: moments and covariance of one finite batch in one float64 buffer.

Dimension letters: N rows (samples x patch phases), C channels, P positions, S blocks of a
row, K columns of a block, R channels rounded up, G patch phases.
"""

import numpy as np
from numpy.typing import NDArray

from latentcache.stats.covariance import (
    BLOCK_COLUMNS,
    ROW_MULTIPLE,
    Comoments,
    gram,
    round_up,
)
from latentcache.stats.moments import Counts, Floats, Moments

MAX_MEAN_SHARE = 0.9
"""Of the mean square, the most that the squared mean may hold before values are centred first.
Below it, subtracting afterwards loses one digit of sixteen and saves a pass over memory."""


class BatchReducer:
    """Reduces batches of one field and class; keeps its buffer from one to the next.

    Args:
        num_channels: C.
        num_phases: G; N is a multiple of it, the phase varying fastest.
        has_covariance: Whether ``reduce`` also returns comoments.
    """

    def __init__(self, num_channels: int, *, num_phases: int, has_covariance: bool) -> None:
        self.num_channels = num_channels
        self.num_phases = num_phases
        self.has_covariance = has_covariance
        self._buffer = np.empty(0)
        self._blocks_shape = (0, 0, 0, 0)

    def reduce(
        self, values_NCP: NDArray[np.float32], lowest_GC: Floats, highest_GC: Floats
    ) -> tuple[Moments, Moments | None, Comoments | None]:
        """Return moments per channel, per (channel, phase), and comoments.

        The buffer holds the batch in blocks, so that the covariance reads it in place; what
        does not fill a block is zero and stays zero, and so adds nothing to any sum.

        Args:
            values_NCP: Finite and not empty.
            lowest_GC: Their minima, by phase and channel.
            highest_GC: Their maxima.
        """
        blocks_NSRK = self._load(values_NCP)
        channels = blocks_NSRK[:, :, : self.num_channels]
        sums_GC = self._by_phase(channels.sum(axis=3))
        count_per_phase = values_NCP.shape[0] // self.num_phases * values_NCP.shape[2]
        count = count_per_phase * self.num_phases
        mean = sums_GC.sum(axis=0) / count
        squares_GC = self._by_phase(np.einsum("nsck,nsck->nsc", channels, channels))
        origin = np.zeros_like(mean)
        if (count * np.square(mean) > MAX_MEAN_SHARE * squares_GC.sum(axis=0)).any():
            origin = mean
            self._shift(values_NCP.shape[2], np.broadcast_to(origin, sums_GC.shape))
            squares_GC = self._by_phase(np.einsum("nsck,nsck->nsc", channels, channels))
        offset = mean - origin
        squares = squares_GC.sum(axis=0) - count * np.square(offset)
        moments = _moments(count, mean, squares, lowest_GC.min(axis=0), highest_GC.max(axis=0))
        comoments = self._comoments(moments, offset) if self.has_covariance else None
        packed = None
        if self.num_phases > 1:
            means_GC = sums_GC / count_per_phase
            far_GC = means_GC - origin
            if (count_per_phase * np.square(far_GC) > MAX_MEAN_SHARE * squares_GC).any():
                # Phases lie far apart: each is centred by itself. The buffer is read no more.
                self._shift(values_NCP.shape[2], far_GC)
                squares_GC = self._by_phase(np.einsum("nsck,nsck->nsc", channels, channels))
            else:
                squares_GC = squares_GC - count_per_phase * np.square(far_GC)
            # pixel_unshuffle's order: channel first, then the phase within the patch.
            columns = [array.T.ravel() for array in (means_GC, squares_GC, lowest_GC, highest_GC)]
            packed = _moments(count_per_phase, *columns)
        return moments, packed, comoments

    def _load(self, values_NCP: NDArray[np.float32]) -> Floats:
        num_rows, num_channels, num_positions = values_NCP.shape
        num_blocks = -(-num_positions // BLOCK_COLUMNS)
        width = -(-num_positions // num_blocks)
        height = round_up(num_channels, ROW_MULTIPLE) if self.has_covariance else num_channels
        shape = (num_rows, num_blocks, height, width)
        if shape != self._blocks_shape:
            self._buffer, self._blocks_shape = np.zeros(shape), shape
        blocks_NSRK = self._buffer
        num_whole = num_positions // width
        whole = values_NCP[:, :, : num_whole * width]
        whole = whole.reshape(num_rows, num_channels, num_whole, width).swapaxes(1, 2)
        np.copyto(blocks_NSRK[:, :num_whole, :num_channels], whole)
        if num_whole < num_blocks:
            rest = values_NCP[:, :, num_whole * width :]
            blocks_NSRK[:, num_whole, :num_channels, : rest.shape[2]] = rest
        return blocks_NSRK

    def _shift(self, num_positions: int, origin_GC: Floats) -> None:
        channels = self._buffer[:, :, : self.num_channels]
        by_phase = channels.reshape(-1, self.num_phases, *channels.shape[1:])
        assert np.shares_memory(by_phase, channels), "only the first axis is split"
        np.subtract(by_phase, origin_GC[:, None, :, None], out=by_phase)
        num_blocks, width = self._blocks_shape[1], self._blocks_shape[3]
        num_whole = num_positions // width
        if num_whole < num_blocks:
            channels[:, num_whole, :, num_positions - num_whole * width :] = 0.0

    def _by_phase(self, sums_NSC: Floats) -> Floats:
        shape = (-1, self.num_phases, *sums_NSC.shape[1:])
        totals: Floats = sums_NSC.reshape(shape).sum(axis=(0, 2))
        return totals

    def _comoments(self, moments: Moments, offset: Floats) -> Comoments:
        height, width = self._blocks_shape[2:]
        product = gram(self._buffer.reshape(-1, height, width))
        return Comoments(
            count=moments.count[:1].copy(),
            mean=moments.mean,
            comoment=product[: self.num_channels, : self.num_channels]
            - moments.count[0] * np.multiply.outer(offset, offset),
        )


def _moments(count: int, mean: Floats, squares: Floats, low: Floats, high: Floats) -> Moments:
    counts: Counts = np.full(mean.shape, count, dtype=np.int64)
    return Moments(
        count=counts,
        mean=mean,
        m2=np.maximum(squares, 0.0),
        minimum=low.astype(np.float64),
        maximum=high.astype(np.float64),
        num_nonfinite=np.zeros_like(counts),
    )
