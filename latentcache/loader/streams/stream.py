"""One bucket of one generation of one source, ready to be drawn from: rows in, samples out."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.core.seeds import keyed_uint64
from latentcache.core.units import BucketRun
from latentcache.loader.gather.unit_gather import Places, keys_as_text
from latentcache.loader.index.frame_times import Array, latent_frame_spans
from latentcache.loader.index.unit_index import Flags, join_spans, points_outside
from latentcache.loader.order.epoch_order import Drawn
from latentcache.loader.order.feistel import Indices
from latentcache.loader.select.selection import Selection
from latentcache.loader.streams.stream_column import StreamColumn

_MAX_TRIES = 64
"""Keyed substitutes tried before the selection is searched in order."""


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
        num_substituted: Rows that stand in for others.
        starts: First latent frame of each row's window; None where samples are read whole.
    """

    rows: Indices
    draws: Indices
    num_substituted: int
    starts: Indices | None = None

    def part(self, inside: slice, *, num_substituted: int) -> "Picked":
        """Return some of the rows, of which so many stand in for others."""
        starts = None if self.starts is None else self.starts[inside]
        return Picked(self.rows[inside], self.draws[inside], num_substituted, starts)


class Stream:
    """The rows a source selects of one run, and their columns."""

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
        """Selected rows of a shard, on average."""
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
    def _num(self) -> int:
        return self.selection.num_rows

    def pick(self, drawn: Drawn, *, seed: int) -> Picked:
        """Return the rows behind an order's draw, substitutes where a column lacks one."""
        rows = self.selection.rows_at(drawn.rows)
        lacking = np.flatnonzero(~self._is_present(rows))
        for place in lacking.tolist():
            rows[place] = self._substitute(int(drawn.rows[place]), int(drawn.draws[place]), seed)
        return Picked(rows, drawn.draws, len(lacking))

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

    def _substitute(self, index: int, draw: int, seed: int) -> Any:
        # Keyed by the draw as well, so that no sample stands in for another for ever.
        for attempt in range(_MAX_TRIES):
            number = keyed_uint64(seed, "substitute", self.place.name, index, draw, attempt)
            rows = self.selection.rows_at(np.array([number % self._num]))
            if self._is_present(rows)[0]:
                return rows[0]
        for offset in range(1, self._num):
            rows = self.selection.rows_at(np.array([(index + offset) % self._num]))
            if self._is_present(rows)[0]:
                return rows[0]
        raise AssertionError("a stream without a present row is refused")
