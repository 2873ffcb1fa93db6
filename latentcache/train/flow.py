"""Flow matching on straight lines from data to noise, and the way back.

``x_t = (1 - t) x + t noise`` has the velocity ``noise - x``, which the model learns. Source:
Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", 2024
(SD3): logit-normal times (section 3.1), shift by resolution (section 5.3.2).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from latentcache.loader.transform import keyed_normal

Condition = Tensor | tuple[Tensor, Tensor]
"""What a model is told: labels [B], or text [B, L, D] with a mask [B, L]."""

TIME_STREAM, NOISE_STREAM, DROP_STREAM = 1, 2, 3
"""Draws of a sample; the loader's posterior is stream 0."""


def draw_times(noise_seeds: Tensor, *, stream: int = TIME_STREAM, shift: float = 1.0) -> Tensor:
    """Return logit-normal times, float32 [B] in (0, 1), that belong to the samples.

    Args:
        noise_seeds: int64 [B], a batch's ``noise_seed``.
        stream: Another number gives independent times for the same samples.
        shift: Above 1 moves times towards noise, as larger latents need it:
            ``shift t / (1 + (shift - 1) t)``.
    """
    times = torch.sigmoid(keyed_normal(noise_seeds, (1,), stream=stream)[:, 0])
    return shifted(times, shift)


def draw_noise(noise_seeds: Tensor, shape: Sequence[int], *, stream: int = NOISE_STREAM) -> Tensor:
    """Return standard normal noise, float32 [B, *shape], that belongs to the samples."""
    return keyed_normal(noise_seeds, shape, stream=stream)


def shifted(times: Tensor, shift: float) -> Tensor:
    """Return ``shift t / (1 + (shift - 1) t)``."""
    return times if shift == 1.0 else shift * times / (1 + (shift - 1) * times)


def flow_loss(
    model: Any,
    latents: Tensor,
    condition: Condition | None,
    *,
    times: Tensor,
    noise: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Return each sample's mean squared error of the velocity, float32 [B].

    Args:
        model: Called with noisy latents, times and the condition.
        latents: [B, ...], normalized.
        condition: Whatever the model takes.
        times: float [B] in [0, 1].
        noise: As ``latents``.
        weights: Of the cells, 0 to 1, broadcast over channels; None counts all alike. A sample
            of which no cell counts has the loss 0.
    """
    latents = latents.to(torch.float32)
    t = times.view(-1, *(1,) * (latents.ndim - 1))
    velocity = model(torch.lerp(latents, noise, t), times, condition)
    error = velocity.to(torch.float32) - (noise - latents)
    squares = error.square()
    loss: Tensor
    if weights is None:
        loss = squares.flatten(1).mean(dim=1)
        return loss
    weights = weights.expand_as(squares)
    total = weights.flatten(1).sum(dim=1)
    loss = (squares * weights).flatten(1).sum(dim=1) / total.clamp(min=1e-6)
    return loss


@torch.no_grad()
def sample_euler(  # noqa: PLR0913  the sampler's arguments, as papers name them
    model: Any,
    noise: Tensor,
    condition: Condition | None = None,
    *,
    guidance: float = 1.0,
    no_condition: Condition | None = None,
    num_steps: int = 30,
    shift: float = 1.0,
) -> Tensor:
    """Return latents in the model's space, from noise by Euler's method.

    Args:
        model: As for ``flow_loss``.
        noise: [B, ...], standard normal.
        condition: Of each sample.
        guidance: Classifier-free: ``v_no + guidance (v - v_no)``; 1 is the condition alone
            (Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022).
        no_condition: What the model was trained to take for "no condition"; needed where
            ``guidance`` is not 1.
        num_steps: Equal steps in time before the shift.
        shift: As for ``draw_times``.
    """
    times = shifted(torch.linspace(1, 0, num_steps + 1, device=noise.device), shift)
    latents = noise.to(torch.float32)
    both = joined(condition, no_condition) if guidance != 1.0 else None
    for now, later in pairwise(times):
        if guidance == 1.0:
            velocity = model(latents, now.expand(len(latents)), condition)
        else:
            twice = model(torch.cat([latents, latents]), now.expand(2 * len(latents)), both)
            with_it, without = twice.chunk(2)
            velocity = torch.lerp(without, with_it, guidance)
        latents = latents + (later - now) * velocity.to(torch.float32)
    return latents


def joined(first: Condition | None, second: Condition | None) -> Condition | None:
    """Return two batches of conditions as one."""
    if isinstance(first, tuple) and isinstance(second, tuple):
        return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    return None
