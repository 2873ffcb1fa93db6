"""Grids of pictures and of clips, frame by frame, for the page's moving pictures."""

from collections.abc import Sequence

from latentcache.demo.page.training_facts import SampleGrid
from latentcache.report import Rgb, mosaic, pair_grid

PAIRS_A_LINE = 4
"""A line of clips is one shape in one colour, moving in each of the four directions."""


def clip_grid(
    samples: Sequence[Rgb], nearest: Sequence[Rgb], *, num_columns: int, scale: int = 1
) -> list[Rgb]:
    """Return the frames of clips THWC with their nearest clips to the right, pair by pair.

    The last frame is left out: in a loop it is the first one again.

    Args:
        samples: In reading order, all equally long.
        nearest: One per sample.
        num_columns: Pairs in a line.
        scale: Whole; each pixel becomes a square of so many.
    """
    return [
        pair_grid(
            [clip[time] for clip in samples],
            [clip[time] for clip in nearest],
            num_columns=num_columns,
            scale=scale,
        )
        for time in range(len(samples[0]) - 1)
    ]


def training_strip(grids: Sequence[SampleGrid], *, scale: int = 1) -> Rgb:
    """Return a line of samples per stage, and below them what the last ones are nearest to.

    Every second sample is shown.
    """
    lines = [grid.samples for grid in grids] + [grids[-1].nearest]
    return mosaic([line[::2] for line in lines], scale=scale)
