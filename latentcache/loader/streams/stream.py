"""Some runs of one generation of one source, ready to be drawn from: rows in, samples out.

A bucket is a stream of one run, whose samples are read whole. Clips of one height and width and of
any length are a stream of many runs, of which windows of so many latent frames are read. A window
that begins after a clip's first latent frame lacks what causal encoders keep there, one pixel frame
alone; ``Picked.starts`` says which do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np

from latentcache.core.errors import ConfigError
from latentcache.core.frames import FrameRule
from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun
from latentcache.loader.gather.unit_gather import Places, keys_as_text
from latentcache.loader.index.column_units import Flags
from latentcache.loader.index.frame_times import Array, latent_frame_spans
from latentcache.loader.index.unit_index import join_spans, points_outside
from latentcache.loader.order.epoch_order import Drawn, StreamOrder
from latentcache.loader.order.feistel import Indices
from latentcache.loader.order.window_starts import window_starts
from latentcache.loader.select.bitmap import BitmapWriter
from latentcache.loader.select.selection import Selection, joined_selection
from latentcache.loader.streams.placed_media import FamilyBucket
from latentcache.loader.streams.stand_ins import StandIns
from latentcache.loader.streams.stream_column import StreamColumn
from latentcache.store import EncodingRecord

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlace:
    """Which stream it is.

    Attributes:
        name: Source, generation and bucket; keys the order.
        source: Number of the source.
        generation: Number of the generation.
        part: Shapes of further columns that all its rows share; "" where nothing parts a bucket.
    """

    name: str
    source: int
    generation: int
    part: str = ""


@dataclass(frozen=True, slots=True)
class SelectedRun:
    """A run of which a source selects rows.

    Attributes:
        run: The shards.
        first_place: Rows of the plan before it.
        selection: Of the source.
        retired: Places of rows that are live no more, ascending.
        num_latents: Latent frames of each clip, where windows are taken of them.
        placed: The bucket of a family of samples with several rows, one of which is drawn; then
            ``selection`` has the first row of each sample.
    """

    run: BucketRun
    first_place: int
    selection: Selection
    retired: Indices
    num_latents: int = 0
    placed: FamilyBucket | None = None


@dataclass(frozen=True, slots=True)
class Picked:
    """Rows that a batch is made of.

    Attributes:
        rows: Places in the run; all present in every column.
        draws: How many times the order had come by before.
        drawn: Rows that the order drew: others than ``rows`` where those stand in for them;
            None where all are there.
        starts: First latent frame of each row's window; None where samples are read whole.
    """

    rows: Indices
    draws: Indices
    drawn: Indices | None = None
    starts: Indices | None = None

    @property
    def num_substituted(self) -> int:
        """Rows that stand in for others: a row that is replaced is not there, so they differ."""
        return 0 if self.drawn is None else int(np.count_nonzero(self.rows != self.drawn))

    def part(self, inside: slice) -> "Picked":
        """Return some of the rows."""
        drawn, starts = (None if one is None else one[inside] for one in (self.drawn, self.starts))
        return Picked(self.rows[inside], self.draws[inside], drawn, starts)

    def replaced(self) -> Indices:
        """Return for each row 1 + the row it stands in for, 0 where it stands in for none."""
        if self.drawn is None:
            return np.zeros(len(self.rows), np.int64)
        found: Indices = np.where(self.rows == self.drawn, 0, self.drawn + 1)
        return found


class Stream:
    """The rows a source selects of some runs, one after the other, and their columns.

    Attributes:
        main: A column of which no row is absent, if there is one: it says what samples are called.
        one_shape: Columns whose samples could vary and here do not, as they part the bucket.
        num_left_out: Selected rows that a column lacks, where none stands in for them.
    """

    def __init__(
        self,
        place: StreamPlace,
        runs: Sequence[SelectedRun],
        columns: Mapping[str, StreamColumn],
        *,
        num_frames: int = 0,
        one_shape: frozenset[str] = frozenset(),
    ) -> None:
        """Join the runs and the columns.

        Args:
            place: Which stream it is.
            runs: At least one; if several, of one height and width.
            columns: Tensor columns by name, over the same runs; a row must be in all of them.
            num_frames: Latent frames of a window; 0 where samples are read whole.
            one_shape: Columns whose samples are all of one shape.

        Raises:
            ConfigError: No selected row is present in all columns.
        """
        self.place, self.columns, self.one_shape = place, columns, one_shape
        whole = [column for column in columns.values() if not len(column.absent)]
        self._may_be_absent = bool(whole)
        self.main = whole[0] if whole else next(iter(columns.values()))
        self._runs, self._num_frames = runs, num_frames
        self._placed = runs[0].placed
        self._index = next(iter(columns.values())).index
        self.selection = joined_selection([(one.selection, one.run.num_rows) for one in runs])
        firsts = self._index.first_rows
        self._retired = np.concatenate(
            [one.retired + first for one, first in zip(runs, firsts.tolist(), strict=True)]
        )
        self._offsets = np.array([one.first_place for one in runs], np.int64) - firsts
        self._first_shards = np.array([one.run.first_shard for one in runs], np.int64)
        self._shard_rows = np.array([one.run.rows_per_shard for one in runs], np.int64)
        self._num_starts = np.array([one.num_latents for one in runs], np.int64) - num_frames + 1
        self.num_left_out = 0
        self._stand_ins: tuple[StreamOrder, StandIns] | None = None
        if not self.num_present:
            raise ConfigError(
                f"stream must have a selected row that all of {', '.join(columns)} have, got none "
                f"of {self._num} ({place.name}); encode the columns, or leave the bucket out"
            )

    @cached_property
    def bucket(self) -> Bucket:
        """Pixel shape of every sample; of as many frames as a window at a clip's start holds."""
        bucket = self._runs[0].run.bucket
        if not self._num_frames:
            return bucket
        record = next(iter(self.columns.values())).view.record
        return replace(bucket, num_frames=_num_pixel_frames(record, self._num_frames))

    @property
    def order_name(self) -> str:
        """What keys the order; streams of one family of samples share theirs."""
        return self.place.name if self._placed is None else self._placed.family

    @property
    def share(self) -> Fraction:
        """How often the stream serves among those that share its order; 1 where none does."""
        return self._placed.share if self._placed else Fraction(1)

    @property
    def block_rows(self) -> int:
        """Selected rows of a shard, on average: what order version 1 took for a block."""
        return max(1, self.rows_per_shard * self._num // self._index.num_rows)

    @property
    def rows_per_shard(self) -> int:
        """Planned rows of a shard; where windows are taken of many runs, on average."""
        if not self._num_frames:
            return self._runs[0].run.rows_per_shard
        return -(-self._index.num_rows // sum(one.run.num_shards for one in self._runs))

    def places(self, name: str, picked: Picked) -> Places:
        """Return where a column's samples of some rows lie."""
        return self.columns[name].places(picked.rows, picked.starts)

    def frame_spans(self, name: str, picked: Picked) -> Array:
        """Return the pixel frames, from a clip's start, that latent frames hold, [B, T, 2]."""
        if picked.starts is None:
            spans = self._spans(name, 0)
            found: Array = np.broadcast_to(spans, (len(picked.rows), *spans.shape))
            return found
        runs = np.broadcast_to(self._index.runs_of(picked.rows), len(picked.rows)).tolist()
        of_runs = {run: self._spans(name, run) for run in set(runs)}
        windows = [
            of_runs[run][start : start + self._num_frames]
            for run, start in zip(runs, picked.starts.tolist(), strict=True)
        ]
        return np.stack(windows)

    def _spans(self, name: str, run: int) -> Array:
        column = self.columns[name]
        bucket = self._runs[run].run.bucket
        return latent_frame_spans(column.view.record, column.fields_of(run), bucket)

    @cached_property
    def num_present(self) -> int:
        """Selected rows that need no substitute; counted without a pass over the rows."""
        columns = list(self.columns.values())
        may_lack = [one.index for one in columns if len(one.absent) and self._may_be_absent]
        whole = [one.index for one in columns if one.index not in may_lack]
        spans = join_spans(np.concatenate([index.spans_without_tar() for index in whole]))
        lacking = [index.missing for index in whole] + [index.lacking() for index in may_lack]
        points = points_outside(spans, np.concatenate([self._retired, *lacking]))
        bitmap = self.selection.bitmap
        if bitmap is None:
            return self._num - int((spans[:, 1] - spans[:, 0]).sum()) - len(points)
        in_spans = (bitmap.num_before(spans[:, 1]) - bitmap.num_before(spans[:, 0])).sum()
        return self._num - int(in_spans) - int(bitmap.contains(points).sum())

    @property
    def _num(self) -> int:
        return self.selection.num_rows

    def block_starts(self) -> Indices:
        """Return, of the shards with a selected row, which selected row is their first."""
        firsts, bitmap = self._index.first_rows.tolist(), self.selection.bitmap
        starts: Indices = np.concatenate(
            [
                first + np.arange(0, one.run.num_rows, one.run.rows_per_shard)
                for first, one in zip(firsts, self._runs, strict=True)
            ]
        )
        if bitmap is None:
            return starts
        found: Indices = np.unique(bitmap.num_before(starts))
        return found[found < self._num]

    def pick(self, drawn: Drawn, order: StreamOrder) -> Picked:
        """Return the rows behind an order's draw, and where each one's window begins.

        Stand-ins take the place of rows that a column lacks.
        """
        picked = self._present(drawn, order)
        if not self._num_frames:
            return picked
        rule, numbers = order.rule, self.numbers(picked.rows)
        num_starts = self._num_starts[self._index.runs_of(picked.rows)]
        if rule.version == 1:
            starts = window_starts(numbers, picked.draws, num_starts, key=(rule.seed, "window"))
        else:
            key, replaced = (rule.seed, "window", order.name), picked.replaced()
            starts = window_starts(numbers, picked.draws, num_starts, key=key, replaced=replaced)
        return replace(picked, starts=starts)

    def _present(self, drawn: Drawn, order: StreamOrder) -> Picked:
        firsts = rows = self.selection.rows_at(drawn.rows)
        if self._placed is not None:
            key, numbers = (order.rule.seed, "placement", order.name), self.numbers(firsts)
            rows = self._placed.choice.rows(firsts, numbers, drawn.draws, key)
        lacking = np.flatnonzero(~self._is_present(rows))
        if not len(lacking):
            return Picked(rows, drawn.draws)
        asked, stand_ins = rows.copy(), self._stand_ins_of(order)
        if self._placed is not None:  # another row of the same sample is nearest
            for step in range(self._placed.choice.most):
                others = self._placed.choice.others(firsts[lacking], step)
                is_there = self._is_present(others)
                rows[lacking[is_there]] = others[is_there]
                lacking = lacking[~is_there]
        if not len(lacking):
            return Picked(rows, drawn.draws, asked)
        rows[lacking] = stand_ins.find(drawn.rows[lacking], drawn.draws[lacking])
        return Picked(rows, drawn.draws, asked)

    def leave_out_missing(self) -> None:
        """Select only what all columns have, for a pass without stand-ins."""
        if self.num_present == self._num:
            return
        writer = BitmapWriter()
        for start in range(0, self._index.num_rows, _ROWS_AT_ONCE):
            rows = np.arange(start, min(start + _ROWS_AT_ONCE, self._index.num_rows))
            flags = self._is_present(rows)
            if self.selection.bitmap is not None:
                flags &= self.selection.bitmap.contains(rows)
            writer.add(flags)
        bitmap = writer.finish()
        self.num_left_out += self._num - bitmap.num_set
        self.selection = Selection(bitmap, bitmap.num_set, bitmap.digest())
        del self.num_present

    def present_rows(self, indices: Indices) -> Indices:
        """Return the places in the run of those selected rows that all columns have."""
        rows = self.selection.rows_at(indices)
        found: Indices = rows[self._is_present(rows)]
        return found

    def _stand_ins_of(self, order: StreamOrder) -> StandIns:
        if self._stand_ins is None or self._stand_ins[0] is not order:
            self._stand_ins = order, StandIns(self.selection, self._is_present, order)
        return self._stand_ins[1]

    def fetch_ahead(self, drawn: Drawn) -> None:
        """Have what a later draw needs fetched, if it is remote."""
        rows = self.selection.rows_at(drawn.rows)
        for column in self.columns.values():
            column.fetch_ahead(rows)

    def keys(self, rows: Indices) -> list[str]:
        """Return the samples' keys."""
        return keys_as_text(self.main.keys(self.main.places(rows)))

    def numbers(self, rows: Indices) -> Indices:
        """Return the rows' numbers in the plan, which never change."""
        return rows + self._offsets[self._index.runs_of(rows)]

    def shards_and_rows(self, rows: Indices) -> tuple[Indices, Indices]:
        """Return shard and row in the shard."""
        runs = self._index.runs_of(rows)
        shards, inside = np.divmod(rows - self._index.first_rows[runs], self._shard_rows[runs])
        return shards + self._first_shards[runs], inside

    def _is_present(self, rows: Indices) -> Flags:
        present = np.ones(len(rows), bool)
        for column in self.columns.values():
            has_outcome = column.index.is_present(rows)
            if self._may_be_absent:
                has_outcome |= column.is_absent(rows)
            present &= has_outcome
        if len(self._retired):
            present &= ~np.isin(rows, self._retired)
        return present


def _num_pixel_frames(record: EncodingRecord, num_latents: int) -> int:
    """Return how many pixel frames a clip of so many latent frames has, at least."""
    rule = FrameRule.from_spec(record.spec)
    if rule is None or (rule.takes_picture and num_latents < rule.latent_first):
        return num_latents
    groups = -(-max(0, num_latents - rule.latent_first) // rule.latent_step)
    return rule.first + groups * rule.step
