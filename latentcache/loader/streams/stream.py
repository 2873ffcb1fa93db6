"""One bucket of one generation of one source, ready to be drawn from: rows in, samples out."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun
from latentcache.loader.gather.unit_gather import Places, keys_as_text
from latentcache.loader.index.frame_times import Array, latent_frame_spans
from latentcache.loader.index.unit_index import Flags, join_spans, points_outside
from latentcache.loader.order.epoch_order import Drawn, StreamOrder
from latentcache.loader.order.feistel import Indices
from latentcache.loader.select.bitmap import BitmapWriter
from latentcache.loader.select.selection import Selection
from latentcache.loader.streams.stand_ins import StandIns
from latentcache.loader.streams.stream_column import StreamColumn

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlace:
    """Which stream it is.

    Attributes:
        name: Source, generation and bucket; keys the order.
        source: Number of the source.
        generation: Number of the generation.
        first_place: Rows of the plan before the run: a row's number in the plan is this
            plus its place in the run.
    """

    name: str
    source: int
    generation: int
    first_place: int


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
    """The rows a source selects of one run, and their columns.

    Attributes:
        num_left_out: Selected rows that a column lacks, where none stands in for them.
    """

    def __init__(
        self,
        place: StreamPlace,
        run: BucketRun,
        selection: Selection,
        columns: Mapping[str, StreamColumn],
        retired: Indices,
    ) -> None:
        """Join the columns.

        Args:
            place: Which stream it is.
            run: Its shards.
            selection: Of the source.
            columns: Tensor columns by name; a row must be in all of them.
            retired: Places in the run of rows that are live no more, ascending.

        Raises:
            ConfigError: No selected row is present in all columns.
        """
        self.place, self.run, self.selection, self.columns = place, run, selection, columns
        self._retired = retired
        self.num_left_out = 0
        self._stand_ins: tuple[StreamOrder, StandIns] | None = None
        if not self.num_present:
            raise ConfigError(
                f"stream must have a selected row that all of {', '.join(columns)} have, got none "
                f"of {selection.num_rows} ({place.name}); encode the columns, or leave the "
                f"bucket out"
            )

    @property
    def bucket(self) -> Bucket:
        """Pixel shape of every sample."""
        return self.run.bucket

    @property
    def block_rows(self) -> int:
        """Selected rows of a shard, on average: what order version 1 took for a block."""
        return max(1, self.run.rows_per_shard * self._num // self.run.num_rows)

    @property
    def rows_per_shard(self) -> int:
        """Planned rows of a shard."""
        return self.run.rows_per_shard

    def places(self, name: str, picked: Picked) -> Places:
        """Return where a column's samples of some rows lie."""
        return self.columns[name].places(picked.rows, picked.starts)

    def frame_spans(self, name: str, picked: Picked) -> Array:
        """Return the pixel frames that latent frames of a column hold, [B, T, 2]."""
        column = self.columns[name]
        spans = latent_frame_spans(column.view.record, column.fields, self.bucket)
        found: Array = np.broadcast_to(spans, (len(picked.rows), *spans.shape))
        return found

    @cached_property
    def num_present(self) -> int:
        """Selected rows that need no substitute; counted without a pass over the rows."""
        grids = [column.grid for column in self.columns.values()]
        spans = join_spans(np.concatenate([grid.spans_without_tar() for grid in grids]))
        points = np.concatenate([self._retired, *(grid.missing for grid in grids)])
        points = points_outside(spans, points)
        bitmap = self.selection.bitmap
        if bitmap is None:
            return self._num - int((spans[:, 1] - spans[:, 0]).sum()) - len(points)
        in_spans = (bitmap.num_before(spans[:, 1]) - bitmap.num_before(spans[:, 0])).sum()
        return self._num - int(in_spans) - int(bitmap.contains(points).sum())

    @property
    def _num_planned(self) -> int:
        return self.run.num_rows

    @property
    def _num(self) -> int:
        return self.selection.num_rows

    def shard_starts(self) -> Indices:
        """Return the places in the run at which shards begin."""
        return np.arange(0, self.run.num_rows, self.run.rows_per_shard)

    def block_starts(self) -> Indices:
        """Return, of the shards with a selected row, which selected row is their first."""
        starts, bitmap = self.shard_starts(), self.selection.bitmap
        if bitmap is None:
            return starts
        found: Indices = np.unique(bitmap.num_before(starts))
        return found[found < self._num]

    def pick(self, drawn: Drawn, order: StreamOrder) -> Picked:
        """Return the rows behind an order's draw, stand-ins where a column lacks one."""
        rows = self.selection.rows_at(drawn.rows)
        lacking = np.flatnonzero(~self._is_present(rows))
        if not len(lacking):
            return Picked(rows, drawn.draws)
        asked, stand_ins = rows.copy(), self._stand_ins_of(order)
        rows[lacking] = stand_ins.find(drawn.rows[lacking], drawn.draws[lacking])
        return Picked(rows, drawn.draws, asked)

    def leave_out_missing(self) -> None:
        """Select only what all columns have, for a pass without stand-ins."""
        if self.num_present == self._num:
            return
        writer = BitmapWriter()
        for start in range(0, self._num_planned, _ROWS_AT_ONCE):
            rows = np.arange(start, min(start + _ROWS_AT_ONCE, self._num_planned))
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
        column = next(iter(self.columns.values()))
        return keys_as_text(column.keys(column.places(rows)))

    def numbers(self, rows: Indices) -> Indices:
        """Return the rows' numbers in the plan, which never change."""
        return rows + self.place.first_place

    def shards_and_rows(self, rows: Indices) -> tuple[Indices, Indices]:
        """Return shard and row in the shard."""
        shards, inside = np.divmod(rows, self.run.rows_per_shard)
        return shards + self.run.first_shard, inside

    def _is_present(self, rows: Indices) -> Flags:
        present = np.ones(len(rows), bool)
        for column in self.columns.values():
            present &= column.grid.is_present(rows)
        if len(self._retired):
            present &= ~np.isin(rows, self._retired)
        return present
