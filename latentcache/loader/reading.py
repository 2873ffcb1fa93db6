"""Making batches: gather, move to the device, draw from the posterior, normalise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from latentcache.core.errors import ConfigError
from latentcache.loader.batch import Batch, BatchFacts
from latentcache.loader.noise import noise_seeds, sample_posterior
from latentcache.loader.normalise import Normalise, primary_field
from latentcache.loader.side_values import SideValues
from latentcache.loader.stream import Picked, Stream

Posterior = Literal["sample", "mode"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a batch holds.

    Attributes:
        columns: Names asked for, in order.
        latents: The column that is drawn from its posterior and normalised.
        normalise: Of that column.
        posterior: ``sample`` draws where a log-variance is stored, ``mode`` never does.
        seed: Of all draws.
        device: Where tensors go; None leaves them where they are.
    """

    columns: tuple[str, ...]
    latents: str
    normalise: Normalise
    posterior: Posterior
    seed: int
    device: torch.device | None


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


def is_sampled(fields: Sequence[str], posterior: Posterior) -> bool:
    """Return whether latents are drawn: wanted, and a mean and a log-variance are stored."""
    return posterior == "sample" and "mean" in fields and "logvar" in fields


class BatchReader:
    """Turns picked rows into a batch."""

    def __init__(self, recipe: Recipe, side: SideValues) -> None:
        self._recipe, self._side = recipe, side

    def read(
        self, stream: Stream, picked: Picked, *, facts: BatchFacts, state: Mapping[str, Any]
    ) -> Batch:
        """Return the batch; tensors are read now, everything else when it is looked at."""
        values: dict[str, Callable[[], Any]] = {}
        for name in self._recipe.columns:
            if name == self._recipe.latents:
                values[name] = partial(self._latents, stream, picked)
            elif name in stream.columns:
                values[name] = partial(self._column, stream, picked, name)
            else:
                values[name] = partial(self._side.read, name, stream, picked)
        values["row"] = partial(torch.from_numpy, stream.numbers(picked.rows))
        values["key"] = partial(stream.keys, picked.rows)
        values["noise_seed"] = partial(self._seeds, stream, picked)
        batch = Batch(values, facts=facts, state=state)
        for name in stream.columns:
            batch[name]
        return batch

    def shape(self, stream: Stream, name: str, batch_size: int) -> tuple[int, ...]:
        """Return the shape that a tensor column has in a batch, without reading any."""
        column = stream.columns[name]
        stored = column.field(primary_field(column.view).name).shape
        if name != self._recipe.latents:
            return (batch_size, *stored)
        # One sample and not a meta tensor: those load sympy, a second and 40 MB at every start.
        one = self._recipe.normalise.apply(torch.zeros((1, *stored)))
        return (batch_size, *one.shape[1:])

    def _latents(self, stream: Stream, picked: Picked) -> torch.Tensor:
        column = stream.columns[self._recipe.latents]
        primary = primary_field(column.view).name
        latents = self._moved(column.read(primary, picked.rows))
        if is_sampled(list(column.template.fields), self._recipe.posterior):
            logvar = self._moved(column.read("logvar", picked.rows))
            seeds = self._seeds(stream, picked).to(latents.device)
            latents = sample_posterior(latents, logvar, seeds)
        return self._recipe.normalise.apply(latents)

    def _column(self, stream: Stream, picked: Picked, name: str) -> torch.Tensor:
        column = stream.columns[name]
        return self._moved(column.read(primary_field(column.view).name, picked.rows))

    def _seeds(self, stream: Stream, picked: Picked) -> torch.Tensor:
        return noise_seeds(stream.keys(picked.rows), picked.draws, seed=self._recipe.seed)

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        device = self._recipe.device
        if device is None or device.type == "cpu":
            return tensor
        if device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=True)
