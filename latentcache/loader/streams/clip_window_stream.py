"""A stream of windows: clips of one height and width and any length, so many latent frames of each.

A window that begins after a clip's first latent frame lacks what causal encoders keep there, one
pixel frame alone; ``Picked.starts`` says which do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from latentcache.core.frames import FrameRule
from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun
from latentcache.loader.index.frame_times import Array, latent_frame_spans
from latentcache.loader.order.epoch_order import Drawn, StreamOrder
from latentcache.loader.order.feistel import Indices
from latentcache.loader.order.window_starts import window_starts
from latentcache.loader.select.bitmap import BitmapWriter
from latentcache.loader.select.selection import Selection
from latentcache.loader.streams.clip_window_column import WindowColumn
from latentcache.loader.streams.stream import Picked, Stream, StreamPlace
from latentcache.store import EncodingRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRun:
    """Clips of one bucket, as a part of a window stream.

    Attributes:
        run: Their shards.
        first_place: Rows of the plan before the run.
        selection: Of the source.
        retired: Places in the run of rows that are live no more.
        num_latents: Latent frames of each clip; at least those of a window.
    """

    run: BucketRun
    first_place: int
    selection: Selection
    retired: Indices
    num_latents: int


class WindowStream(Stream):
    """Windows of all clips of some runs; rows are those of the runs, one after the other."""

    def __init__(
        self,
        place: StreamPlace,
        runs: Sequence[ClipRun],
        columns: Mapping[str, WindowColumn],
        *,
        num_frames: int,
    ) -> None:
        """Join the runs.

        Args:
            place: Which stream it is.
            runs: At least one; of one height and width.
            columns: Tensor columns by name, over the same runs.
            num_frames: Latent frames of a window.

        Raises:
            ConfigError: No selected row is present in all columns.
        """
        self._runs, self._num_frames = runs, num_frames
        self._grid = next(iter(columns.values())).joined
        firsts = self._grid.first_rows.tolist()
        retired = [one.retired + first for one, first in zip(runs, firsts, strict=True)]
        self._num_starts = np.array([one.num_latents for one in runs]) - num_frames + 1
        self._offsets = np.array([one.first_place for one in runs]) - self._grid.first_rows
        self._first_shards = np.array([one.run.first_shard for one in runs], np.int64)
        self._shard_rows = np.array([one.run.rows_per_shard for one in runs], np.int64)
        super().__init__(
            place, runs[0].run, _joined_selection(runs), columns, np.concatenate(retired)
        )

    @cached_property
    def bucket(self) -> Bucket:
        """Pixel shape of as many frames as a window at a clip's start holds."""
        record = next(iter(self.columns.values())).view.record
        bucket = self._runs[0].run.bucket
        return Bucket(_num_pixel_frames(record, self._num_frames), *_size(bucket))

    @property
    def rows_per_shard(self) -> int:
        """Planned rows of a shard, on average."""
        num_shards = sum(one.run.num_shards for one in self._runs)
        return -(-sum(one.run.num_rows for one in self._runs) // num_shards)

    @property
    def block_rows(self) -> int:
        """Selected rows of a shard, on average."""
        num_rows = sum(one.run.num_rows for one in self._runs)
        return max(1, self.rows_per_shard * self.selection.num_rows // num_rows)

    @property
    def _num_planned(self) -> int:
        return sum(one.run.num_rows for one in self._runs)

    def shard_starts(self) -> Indices:
        """Return the rows at which shards begin."""
        firsts = self._grid.first_rows.tolist()
        starts = [
            first + np.arange(0, one.run.num_rows, one.run.rows_per_shard)
            for first, one in zip(firsts, self._runs, strict=True)
        ]
        return np.concatenate(starts)

    def pick(self, drawn: Drawn, order: StreamOrder) -> Picked:
        """Return the rows behind an order's draw, and where each one's window begins."""
        picked, rule = super().pick(drawn, order), order.rule
        num_starts = self._num_starts[self._grid.runs_of(picked.rows)]
        numbers, draws = self.numbers(picked.rows), picked.draws
        if rule.version == 1:
            starts = window_starts(numbers, draws, num_starts, key=(rule.seed, "window"))
        else:
            key = (rule.seed, "window", order.name)
            starts = window_starts(numbers, draws, num_starts, key=key, replaced=picked.replaced())
        return replace(picked, starts=starts)

    def numbers(self, rows: Indices) -> Indices:
        """Return the rows' numbers in the plan, which never change."""
        return rows + self._offsets[self._grid.runs_of(rows)]

    def shards_and_rows(self, rows: Indices) -> tuple[Indices, Indices]:
        """Return shard and row in the shard."""
        runs = self._grid.runs_of(rows)
        shards, inside = np.divmod(rows - self._grid.first_rows[runs], self._shard_rows[runs])
        return shards + self._first_shards[runs], inside

    def frame_spans(self, name: str, picked: Picked) -> Array:
        """Return the pixel frames, from a clip's start, that latent frames hold, [B, T, 2]."""
        assert picked.starts is not None, "windows begin somewhere"
        runs = self._grid.runs_of(picked.rows).tolist()
        spans = {run: self._spans(name, run) for run in set(runs)}
        return np.stack(
            [
                spans[run][start : start + self._num_frames]
                for run, start in zip(runs, picked.starts.tolist(), strict=True)
            ]
        )

    def _spans(self, name: str, run: int) -> Array:
        column = self.columns[name]
        assert isinstance(column, WindowColumn), "so the constructor was given"
        record, bucket = column.view.record, self._runs[run].run.bucket
        return latent_frame_spans(record, column.fields_of(run), bucket)


def _joined_selection(runs: Sequence[ClipRun]) -> Selection:
    if all(one.selection.bitmap is None for one in runs):
        return Selection(None, sum(one.run.num_rows for one in runs), "all")
    writer = BitmapWriter()
    for one in runs:
        bitmap, num_rows = one.selection.bitmap, one.run.num_rows
        flags = np.ones(num_rows, bool)
        if bitmap is not None:
            flags = np.unpackbits(bitmap.packed, count=num_rows).astype(bool)
        writer.add(flags)
    joined = writer.finish()
    return Selection(joined, joined.num_set, joined.digest())


def _num_pixel_frames(record: EncodingRecord, num_latents: int) -> int:
    """Return how many pixel frames a clip of so many latent frames has, at least."""
    rule = FrameRule.from_spec(record.spec)
    if rule is None:
        return num_latents
    groups = -(-max(0, num_latents - rule.latent_first) // rule.latent_step)
    return rule.first + groups * rule.step


def _size(bucket: Bucket) -> tuple[int, int]:
    return bucket.height_px, bucket.width_px
