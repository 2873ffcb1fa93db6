"""What a model learns of a sample, and how samples are drawn from it: a flow, or hidden indices."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from latentcache.core.errors import ConfigError
from latentcache.train.beside import Beside
from latentcache.train.flow import (
    NOISE_STREAM,
    TIME_STREAM,
    Condition,
    draw_noise,
    draw_times,
    flow_loss,
    sample_euler,
)
from latentcache.train.objectives.masked_tokens import draw_masks, masked_loss, sample_masked
from latentcache.train.train_options import TrainOptions


class Objective(Protocol):
    """One way to train."""

    def losses(
        self,
        model: Any,
        latents: Tensor,
        told: Condition | None,
        beside: Beside,
        draws: "Draws",
    ) -> Tensor:
        """Return the loss of each sample, float32 [B], with what it needs drawn by ``draws``."""
        ...

    def draws(self, seeds: Tensor, shape: tuple[int, ...], first: int) -> "Draws":
        """Return what a batch's losses are drawn with, from its samples' seeds."""
        ...

    def sample(
        self,
        model: Any,
        shape: tuple[int, ...],
        seeds: Tensor,
        conditions: tuple[Condition | None, Condition | None],
        *,
        guidance: float,
        num_steps: int,
    ) -> Tensor:
        """Return samples in the space of the loader; ``conditions`` is that, and none."""
        ...


class Draws(NamedTuple):
    """What one batch is drawn with.

    Attributes:
        times: float [B]; of a flow the time, of hidden indices the share that is hidden.
        values: As the latents: noise, or which cells are hidden.
    """

    times: Tensor
    values: Tensor


class FlowObjective:
    """Velocities of noisy latents; see ``train.flow``."""

    def __init__(self, time_shift: float) -> None:
        self._shift = time_shift

    def draws(self, seeds: Tensor, shape: tuple[int, ...], first: int) -> Draws:
        """Return times and noise."""
        times = draw_times(seeds, stream=first + TIME_STREAM, shift=self._shift)
        return Draws(times, draw_noise(seeds, shape, stream=first + NOISE_STREAM))

    def losses(
        self, model: Any, latents: Tensor, told: Condition | None, beside: Beside, draws: Draws
    ) -> Tensor:
        """Return mean squared errors."""
        return flow_loss(
            beside.around(model),
            latents,
            told,
            times=draws.times,
            noise=draws.values,
            weights=beside.weights,
        )

    def sample(
        self,
        model: Any,
        shape: tuple[int, ...],
        seeds: Tensor,
        conditions: tuple[Condition | None, Condition | None],
        *,
        guidance: float,
        num_steps: int,
    ) -> Tensor:
        """Return latents."""
        return sample_euler(
            model,
            draw_noise(seeds, shape),
            conditions[0],
            guidance=guidance,
            no_condition=conditions[1],
            num_steps=num_steps,
            shift=self._shift,
        )


class MaskedObjective:
    """Which indices are hidden; see ``train.objectives.masked_tokens``."""

    def __init__(self, codebook_size: int) -> None:
        self._size = codebook_size

    def draws(self, seeds: Tensor, shape: tuple[int, ...], first: int) -> Draws:
        """Return the shares that are hidden, and the cells."""
        hidden = draw_masks(seeds, shape, stream=first + NOISE_STREAM)
        return Draws(hidden.flatten(1).to(torch.float32).mean(dim=1), hidden)

    def losses(
        self,
        model: Any,
        latents: Tensor,
        told: Condition | None,
        beside: Beside,  # noqa: ARG002  nothing, see ``objective_of``
        draws: Draws,
    ) -> Tensor:
        """Return cross-entropies in nats."""
        return masked_loss(model, latents, told, hidden=draws.values)

    def sample(
        self,
        model: Any,
        shape: tuple[int, ...],
        seeds: Tensor,
        conditions: tuple[Condition | None, Condition | None],
        *,
        guidance: float,
        num_steps: int,
    ) -> Tensor:
        """Return indices."""
        return sample_masked(
            model,
            shape,
            seeds,
            conditions[0],
            codebook_size=self._size,
            guidance=guidance,
            no_condition=conditions[1],
            num_steps=num_steps,
        )


def objective_of(model: nn.Module, options: TrainOptions, *, beside: tuple[Any, ...]) -> Objective:
    """Return how a model is trained: one with a ``codebook_size`` on indices.

    Args:
        model: To be trained.
        options: Of the run.
        beside: What it is to be given beside latents and condition, each nothing or something.

    Raises:
        ConfigError: A model of indices is to be given more than its condition.
    """
    size = getattr(model, "codebook_size", None)
    if size is None:
        return FlowObjective(options.time_shift)
    if any(beside):
        raise ConfigError(
            "condition_latents, references and loss_mask must be left out for a model of indices, "
            f"got {next(one for one in beside if one)!r}; train a dit on loader.indices = "
            '"vectors" with them'
        )
    return MaskedObjective(int(size))
