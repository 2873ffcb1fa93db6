"""Reading a batch: gather, move to the device, draw from the posterior, normalize."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from latentcache.core.errors import ConfigError
from latentcache.loader.gather.absent import blanked
from latentcache.loader.gather.buffers import Buffers
from latentcache.loader.gather.copying import LARGE_ROW_BYTES, in_threads
from latentcache.loader.gather.unit_gather import Places
from latentcache.loader.latent_batch import Batch, BatchFacts
from latentcache.loader.metadata_columns import SideValues
from latentcache.loader.order.epoch_order import ORDER_VERSION
from latentcache.loader.streams.sample_picks import Located
from latentcache.loader.streams.stream import Picked, Stream
from latentcache.loader.streams.stream_column import StreamColumn
from latentcache.loader.text.text_columns import TextColumns
from latentcache.loader.transform.cuda_stream import CudaStream
from latentcache.loader.transform.fused import FusedTransform
from latentcache.loader.transform.indices import IndexColumns
from latentcache.loader.transform.noise import noise_seeds, sample_posterior
from latentcache.loader.transform.normalizer import Normalizer, primary_field
from latentcache.store.format import TensorEntry

Posterior = Literal["sample", "mode"]

_CHUNK_BYTES = 2**18
"""Stored bytes that are drawn and normalized in one go: a float32 copy of them, and what
lies between, stays in the processor's cache."""

_NUM_HELD = 3
"""Batches whose memory is kept to be used again, beside those made ahead: the one that is
made, the one that is trained on, and the one before it, which a loop lets go of last."""

_Piece = tuple[Places, TensorEntry, FusedTransform, torch.Tensor]
"""Samples, a field or some channels of it, what is done to them, and where they go."""

_Job = TypeVar("_Job")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a batch holds.

    Attributes:
        columns: Names asked for, in order.
        latents: The column that is drawn from its posterior and normalized.
        normalizer: Of that column.
        others: Of further columns, by name.
        posterior: ``sample`` draws where a log-variance is stored, ``mode`` never does.
        seed: Of all draws.
        order_version: Draws are keyed by the stream and the replaced row since 2.
        device: Where tensors go; None leaves them where they are.
        dtype: Of what is drawn or normalized: computed in float32, rounded once.
        window_frames: Latent frames taken of each clip that has as many; 0 takes all.
    """

    columns: tuple[str, ...]
    latents: str
    normalizer: Normalizer
    others: Mapping[str, Normalizer]
    posterior: Posterior
    seed: int
    device: torch.device | None
    dtype: torch.dtype = torch.float32
    window_frames: int = 0
    order_version: int = ORDER_VERSION

    @property
    def normalizers(self) -> dict[str, Normalizer]:
        """Of each column that is normalized, the latents first."""
        return {self.latents: self.normalizer, **self.others}


def find_device(given: str | torch.device | None) -> torch.device | None:
    """Return the device of a name, once something could be put there.

    Raises:
        ConfigError: There is no such device.
    """
    if given is None:
        return None
    try:
        device = torch.device(given)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"device must be one of this machine's, got {given!r} ({reason}); pass cpu, or "
            f"leave it out"
        ) from None
    return device


def is_sampled(fields: Collection[str], posterior: Posterior) -> bool:
    """Return whether latents are drawn: wanted, and a mean and a log-variance are stored."""
    return posterior == "sample" and "mean" in fields and "logvar" in fields


class BatchReader:
    """Turns located rows into a batch; used by one thread at a time."""

    def __init__(
        self,
        recipe: Recipe,
        side: SideValues,
        texts: TextColumns,
        indices: IndexColumns,
        *,
        num_ahead: int = 0,
    ) -> None:
        """Read nothing yet.

        Args:
            recipe: What a batch holds.
            side: Reads what is no tensor.
            texts: Reads columns of texts.
            indices: Makes what was asked for of indices.
            num_ahead: Batches that wait to be taken.
        """
        self._recipe, self._side, self._texts = recipe, side, texts
        self._indices = indices
        self._buffers = Buffers(num_ahead + _NUM_HELD)
        device = recipe.device
        self._is_here = device is None or device.type == "cpu"
        self._cuda = CudaStream(device) if device is not None and device.type == "cuda" else None
        self._fits: dict[tuple[str, tuple[int, ...]], FusedTransform] = {}

    def read(
        self,
        stream: Stream,
        located: Located,
        *,
        facts: BatchFacts,
        state: Callable[[], dict[str, Any]],
        mask: torch.Tensor | None = None,
    ) -> Batch:
        """Return the batch; tensors are read now, everything else when it is looked at."""
        if self._cuda is None:
            values, arrive = self._tensors(stream, located), None
        else:
            with self._cuda.current():
                values = self._tensors(stream, located)
            arrive = self._cuda.arrival(_flat(values.values()))
        picked = located.picked
        pending: dict[str, Callable[[], Any]] = {
            name: partial(values.__getitem__, name)
            if name in values
            else partial(self._side.read, name, stream, picked)
            for name in self._recipe.columns
        }
        for name in values:  # masks and the like, beside their column
            pending.setdefault(name, partial(values.__getitem__, name))
        pending["row"] = lambda: torch.from_numpy(stream.numbers(picked.rows))
        pending["key"] = partial(stream.keys, picked.rows)
        pending["noise_seed"] = partial(self._seeds, stream, located)
        if self._recipe.window_frames:
            pending["window_start"] = partial(_window_start, picked)
        if mask is not None:
            pending["mask"] = lambda: mask
        return Batch.reading(pending, facts=facts, state=state, arrive=arrive)

    def shape(self, stream: Stream, name: str, batch_size: int) -> tuple[int, ...]:
        """Return the shape that a tensor column has in a batch, without reading any."""
        column = stream.columns[name]
        assert not column.is_varying, "samples of many shapes make a list"
        stored = column.field(primary_field(column.view).name).shape
        is_plain = name != self._recipe.latents and name not in self._recipe.others
        if is_plain or name in self._indices.forms:
            return (batch_size, *self._indices.shape(name, stored))
        return (batch_size, *self._fused(name, stored).shape)

    def _fused(self, name: str, stored: tuple[int, ...]) -> FusedTransform:
        found = self._fits.get((name, stored))
        if found is None:
            recipe = self._recipe
            normalizer = recipe.normalizer if name == recipe.latents else recipe.others[name]
            found = self._fits[name, stored] = normalizer.fused(stored, recipe.device)
        return found

    def _tensors(self, stream: Stream, located: Located) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, column in stream.columns.items():
            places = located.places[name]
            if name in self._texts:
                found = self._texts.read(name, column, places, stream, located.picked)
                values.update({key: self._there(value) for key, value in found.items()})
            elif column.is_varying:
                samples = column.varying.samples(places, primary_field(column.view).name)
                device = self._recipe.device
                values[name] = [
                    self._of_one(name, one if self._is_here else one.to(device)) for one in samples
                ]
                if name in self._recipe.others:
                    apply, dtype = self._recipe.others[name].apply, self._recipe.dtype
                    values[name] = [apply(one[None])[0].to(dtype) for one in values[name]]
            elif name in self._recipe.others:
                values[name] = self._normalized(column, places)
            elif name == self._recipe.latents:
                values[name] = self._latents(column, places, partial(self._seeds, stream, located))
            else:
                primary = primary_field(column.view)
                values[name] = self._indices.apply(name, self._field(column, places, primary.name))
            if "role" in column.view.record.transform:
                is_absent = torch.from_numpy(column.is_absent(located.picked.rows))
                values[name] = blanked(values[name], is_absent)
                values[f"{name}.present"] = self._there(~is_absent)
            if name in stream.one_shape:
                values[name] = torch.stack(values[name])
        return values

    def _of_one(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Return one sample's values, of a column whose samples vary in size."""
        return self._indices.apply(name, values[None])[0]

    def _there(self, value: torch.Tensor) -> torch.Tensor:
        return value if self._is_here else value.to(self._recipe.device, non_blocking=True)

    def _latents(
        self, column: StreamColumn, places: Places, seeds: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        is_drawn = is_sampled(column.fields, self._recipe.posterior)
        if self._is_here and (is_drawn or self._recipe.normalizer.ops):
            return self._latents_here(column, places, seeds() if is_drawn else None)
        primary = primary_field(column.view)
        latents = self._field(column, places, primary.name)
        if is_drawn:
            logvar = self._field(column, places, "logvar")
            latents = sample_posterior(latents, logvar, seeds().to(latents.device))
        elif not self._recipe.normalizer.ops:
            return self._indices.apply(column.view.name, latents)
        fused = self._fused(column.view.name, tuple(latents.shape[1:]))
        out = latents.new_empty((len(latents), *fused.shape), dtype=self._recipe.dtype)
        starts = None if places.starts is None else places.starts.to(latents.device)
        return fused.write(latents, out, starts)

    def _normalized(self, column: StreamColumn, places: Places) -> torch.Tensor:
        """Return a further column's field by its own figures."""
        name = column.view.name
        stored = self._field(column, places, primary_field(column.view).name)
        fused = self._fused(name, tuple(stored.shape[1:]))
        out = stored.new_empty((len(stored), *fused.shape), dtype=self._recipe.dtype)
        starts = None if places.starts is None else places.starts.to(stored.device)
        return fused.write(stored, out, starts)

    def _latents_here(
        self, column: StreamColumn, places: Places, seeds: torch.Tensor | None
    ) -> torch.Tensor:
        """Return latents drawn and normalized a piece at a time, in the processor's cache."""
        stored = column.field(primary_field(column.view).name)
        fused = self._fused(column.view.name, stored.shape)
        shape = (len(places), *fused.shape)
        out = self._buffers.take(column.view.name, shape, self._recipe.dtype)
        row_bytes = stored.stop - stored.start
        step = max(1, _CHUNK_BYTES // row_bytes)

        def write(job: _Piece) -> None:
            some, entry, part, target = job
            part.write(column.gather.field(some, entry), target, some.starts)

        def draw(start: int) -> None:
            some, target = places.part(start, start + step), out[start : start + step]
            mean = column.gather.field(some, stored)
            logvar = column.gather.field(some, column.field("logvar"))
            assert seeds is not None, "drawn by their seeds"
            latents = sample_posterior(mean, logvar, seeds[start : start + step])
            fused.write(latents, target, some.starts)

        starts = range(0, len(places), step)
        if seeds is not None:
            _do(draw, starts, in_parallel=row_bytes >= LARGE_ROW_BYTES)
        elif row_bytes >= LARGE_ROW_BYTES and fused.is_pointwise and places.starts is None:
            _do(write, _channels(places, stored, fused, out), in_parallel=True)
        else:
            some = (places.part(start, start + step) for start in starts)
            pieces = [
                (one, stored, fused, target)
                for one, target in zip(some, torch.split(out, step), strict=True)
            ]
            _do(write, pieces, in_parallel=row_bytes >= LARGE_ROW_BYTES)
        return out

    def _field(self, column: StreamColumn, places: Places, name: str) -> torch.Tensor:
        """Return a field as it is stored, on the device."""
        entry, device = column.field(name), self._recipe.device
        shape, dtype = (len(places), *entry.shape), getattr(torch, entry.dtype)
        if self._cuda is not None:
            # Straight into pinned memory, which torch keeps until it was copied.
            pinned = torch.empty(shape, dtype=dtype, pin_memory=True)
            return column.gather.field(places, entry, pinned).to(device, non_blocking=True)
        if not self._is_here:
            return column.gather.field(places, entry).to(device)
        out = self._buffers.take(column.view.name, shape, dtype)
        return column.gather.field(places, entry, out)

    def _seeds(self, stream: Stream, located: Located) -> torch.Tensor:
        main = stream.main
        keys = main.keys(located.places[main.view.name])
        picked, seed = located.picked, self._recipe.seed
        if self._recipe.order_version == 1:
            return noise_seeds(keys, picked.draws, seed=seed)
        replaced = None if picked.drawn is None else picked.replaced()
        name = stream.place.name
        return noise_seeds(keys, picked.draws, seed=seed, stream=name, replaced=replaced)


def _channels(
    places: Places, entry: TensorEntry, fused: FusedTransform, out: torch.Tensor
) -> list[_Piece]:
    """Return the channels of each sample, as many at a time as fit into the processor's cache."""
    each = (entry.stop - entry.start) // entry.shape[0]
    step = max(1, _CHUNK_BYTES // each)
    pieces = []
    for first in range(0, entry.shape[0], step):
        inside = slice(first, min(first + step, entry.shape[0]))
        shape = (inside.stop - first, *entry.shape[1:])
        start, stop = entry.start + first * each, entry.start + inside.stop * each
        part = replace(entry, shape=shape, start=start, stop=stop)
        pieces.append((part, fused.of_channels(inside), out[:, inside]))
    return [
        (places.part(at, at + 1), part, fit, target[at : at + 1])
        for at in range(len(places))
        for part, fit, target in pieces
    ]


def _do(function: Callable[[_Job], None], jobs: Sequence[_Job], *, in_parallel: bool) -> None:
    if in_parallel:
        in_threads(function, jobs)
        return
    for job in jobs:
        function(job)


def _window_start(picked: Picked) -> torch.Tensor:
    """Return the first latent frame of each sample in its clip, int64 [B]."""
    starts = np.zeros(len(picked.rows), np.int64) if picked.starts is None else picked.starts
    return torch.from_numpy(starts)


def _flat(values: Iterable[torch.Tensor | list[torch.Tensor]]) -> list[torch.Tensor]:
    return [one for value in values for one in (value if isinstance(value, list) else [value])]
