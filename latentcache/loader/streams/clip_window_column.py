"""One column of a window stream: clips of many lengths, of which a window of latent frames is read.

A column with other axes, or with one latent frame whatever the clip's length (a conditioning
first frame), is read whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np

from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.core.units import BucketRun
from latentcache.loader.gather.clip_window_gather import (
    WindowField,
    WindowLayout,
    open_window_gather,
)
from latentcache.loader.gather.ragged import may_vary, varies
from latentcache.loader.gather.unit_gather import Gather
from latentcache.loader.index.joined_index import JoinedGrid
from latentcache.loader.index.sample_layout import SampleLayout, read_template
from latentcache.loader.index.unit_index import ColumnUnits
from latentcache.loader.streams.stream_column import Access, StreamColumn
from latentcache.storage import map_ahead
from latentcache.store.format import TensorEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRule:
    """What of which clips is read.

    Attributes:
        num_frames: Latent frames of a window.
        num_latents: Of the clips of each run, in the column that is trained on.
    """

    num_frames: int
    num_latents: Sequence[int]


class WindowColumn(StreamColumn):
    """A column over several runs.

    Attributes:
        joined: Its units in all of them.
    """

    def __init__(
        self, units: ColumnUnits, runs: Sequence[BucketRun], rule: WindowRule, access: Access
    ) -> None:
        """Read how samples are laid out in each run.

        Args:
            units: Of the column, in all buckets.
            runs: The shards.
            rule: What of them is read.
            access: How its tars are had.

        Raises:
            ConfigError: The column has no sample there, or latent frames of its own.
        """
        view = units.view
        grids = [units.grid(run) for run in runs]
        templates = tuple(
            map_ahead(lambda grid: read_template(view.folder, grid.entries.values()), grids)
        )
        first = next((one for one in templates if one is not None), None)
        label = f"windows of {rule.num_frames} latent frames"
        if first is None:
            raise ConfigError(
                f"column {view.name} must have samples to take {label} of, got none; encode it"
            )
        self.joined = JoinedGrid(label, grids)
        super().__init__(view, self.joined, first, access)
        self._layout = WindowLayout(templates=templates, fields=_windowed(units, templates, rule))
        self.is_varying = may_vary(view) and any(
            one is not None
            and (one.fields != first.fields or varies(view.folder, grid, stride=one.stride))
            for grid, one in zip(grids, templates, strict=True)
        )
        if not self._layout.fields and not self.is_varying:
            _check_one_shape(view.name, templates, first)

    @property
    def fields(self) -> Mapping[str, TensorEntry]:
        """What of a sample is in a batch: by name, and of which shape it is."""
        windowed = {name: field.entry for name, field in self._layout.fields.items()}
        return {**self.sample_layout.fields, **windowed}

    def fields_of(self, run: int) -> Mapping[str, TensorEntry]:
        """Return what whole samples of a run have."""
        found = self._layout.templates[run]
        assert found is not None, "rows without a sample are never read"
        return found.fields

    @cached_property
    def gather(self) -> Gather:
        """What copies windows; maps nothing before the first batch."""
        most = self._most_mapped()
        return open_window_gather(self.joined, self._layout, self._find_tar, max_mapped=most)


def _windowed(
    units: ColumnUnits, templates: Sequence[SampleLayout | None], rule: WindowRule
) -> dict[str, WindowField]:
    """Return those fields that have as many latent frames as the column that is trained on."""
    found = {}
    for field in units.view.record.fields:
        if "T" not in field.axes or "T" in field.broadcast:
            continue
        axis = field.axes.index("T")
        pairs = zip(templates, rule.num_latents, strict=True)
        if all(one is None or one.fields[field.name].shape[axis] == count for one, count in pairs):
            found[field.name] = _window_field(field, templates, rule)
    return found


def _window_field(
    field: Field, templates: Sequence[SampleLayout | None], rule: WindowRule
) -> WindowField:
    axis = field.axes.index("T")
    entry = next(one.fields[field.name] for one in templates if one is not None)
    outer = prod(entry.shape[:axis])
    frame_bytes = (entry.stop - entry.start) // (outer * entry.shape[axis])
    starts = [one.first_payload + one.fields[field.name].start if one else 0 for one in templates]
    shape = (*entry.shape[:axis], rule.num_frames, *entry.shape[axis + 1 :])
    return WindowField(
        entry=replace(entry, shape=shape, start=0, stop=outer * rule.num_frames * frame_bytes),
        outer=outer,
        frame_bytes=frame_bytes,
        starts=np.array(starts, np.int64),
        num_frames=np.array(rule.num_latents, np.int64),
    )


def _check_one_shape(
    name: str, templates: Sequence[SampleLayout | None], first: SampleLayout
) -> None:
    for one in templates:
        if one is not None and one.fields != first.fields:
            shapes = [[entry.shape for entry in each.fields.values()] for each in (first, one)]
            raise ConfigError(
                f"column {name} must have the latent frames of the column that is trained on, or "
                f"one shape for clips of any length, to be read in windows, got {shapes[0]} and "
                f"{shapes[1]}; leave it out"
            )
