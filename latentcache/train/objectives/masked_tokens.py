"""A masked model of indices: some are hidden, and the model says which they are.

Source: Chang et al., "MaskGIT: Masked Generative Image Transformer", 2022: a share of cos(pi r / 2)
of the cells is hidden, r uniform; sampling fills in those that the model is surest of.

Dimension letters: B batch, K entries of the codebook, T latent frames, H height, W width, N cells.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentcache.core.errors import ConfigError
from latentcache.loader.transform import keyed_normal
from latentcache.train.dit import DiT, DiTConfig
from latentcache.train.flow import Condition, joined

_SMALLEST = 1e-9
"""Of a uniform number whose logarithm is taken."""


class MaskedTransformer(nn.Module):
    """Says of each cell which index it holds; the DiT's blocks around an embedding of indices.

    Attributes:
        codebook_size: K; the index K stands for a hidden cell.
        num_classes: Labels are below it; None where it is told none.
        text_dim: Width of text embeddings; None where it is told none.
    """

    def __init__(self, config: DiTConfig, *, codebook_size: int) -> None:
        """Make the model.

        Args:
            config: Of the blocks; ``channels`` is the width of an index's embedding.
            codebook_size: K.

        Raises:
            ConfigError: Tokens are to be of several cells.
        """
        super().__init__()
        if config.patch != (1, 1, 1):
            raise ConfigError(
                f"patch must be (1, 1, 1) for a model of indices, got {config.patch}; each index "
                "is a token (recipe: dit.patch)"
            )
        self.codebook_size, self.config_of_blocks = codebook_size, config
        self.num_classes, self.text_dim = config.num_classes, config.text_dim
        self.embedding = nn.Embedding(codebook_size + 1, config.channels)
        self.blocks = DiT(config)
        self.head = nn.Linear(config.channels, codebook_size)

    def describe(self) -> dict[str, Any]:
        """Return what must be equal for weights to fit, as plain values."""
        described = self.blocks.describe()
        return {**described, "kind": "masked", "codebook_size": self.codebook_size}

    def forward(
        self, indices: Tensor, shares: Tensor, condition: Condition | None = None
    ) -> Tensor:
        """Return the logits of each cell, float [B, K, ...].

        Args:
            indices: int64 [B, H, W] or [B, T, H, W], K where a cell is hidden.
            shares: float [B]; how much of each sample is hidden.
            condition: As for ``DiT``.
        """
        embedded = self.embedding(indices).movedim(-1, 1)
        told = self.blocks(embedded, shares, condition)
        logits: Tensor = self.head(told.movedim(1, -1)).movedim(-1, 1)
        return logits


def draw_masks(noise_seeds: Tensor, shape: tuple[int, ...], *, stream: int) -> Tensor:
    """Return which cells are hidden, bool [B, *shape]; drawn by sample, on any rank.

    Args:
        noise_seeds: int64 [B], a batch's ``noise_seed``.
        shape: Of one sample's indices.
        stream: Another number gives independent draws for the same samples.
    """
    num_cells = math.prod(shape)
    drawn = torch.special.ndtr(keyed_normal(noise_seeds, (num_cells + 1,), stream=stream))
    hidden = (torch.cos(drawn[:, :1] * (math.pi / 2)) * num_cells).ceil().clamp(1, num_cells)
    ranks = drawn[:, 1:].argsort(dim=1).argsort(dim=1)
    masks: Tensor = ranks < hidden
    return masks.view(len(noise_seeds), *shape)


def masked_loss(
    model: Any, indices: Tensor, condition: Condition | None, *, hidden: Tensor
) -> Tensor:
    """Return each sample's mean cross-entropy of its hidden cells, in nats, float32 [B].

    Args:
        model: Called with indices, shares and the condition, like ``MaskedTransformer``, whose
            index K hides a cell; ``logits`` [B, K, ...] come back.
        indices: int64 [B, ...].
        condition: Whatever the model takes.
        hidden: bool, as ``indices``; at least one cell of each sample.
    """
    shares = hidden.flatten(1).to(torch.float32).mean(dim=1)
    size = _size_of(model)
    logits = model(indices.masked_fill(hidden, size), shares, condition)
    nats = F.cross_entropy(logits.to(torch.float32), indices, reduction="none")
    weights = hidden.to(torch.float32).flatten(1)
    loss: Tensor = (nats.flatten(1) * weights).sum(dim=1) / weights.sum(dim=1)
    return loss


@torch.no_grad()
def sample_masked(  # noqa: PLR0913  the sampler's arguments, as papers name them
    model: Any,
    shape: tuple[int, ...],
    noise_seeds: Tensor,
    condition: Condition | None = None,
    *,
    codebook_size: int,
    guidance: float = 1.0,
    no_condition: Condition | None = None,
    num_steps: int = 12,
    temperature: float = 4.5,
) -> Tensor:
    """Return indices, int64 [B, *shape], filled in over ``num_steps`` calls of the model.

    Args:
        model: As for ``masked_loss``.
        shape: Of one sample's indices.
        noise_seeds: int64 [B]; a seed gives the same sample in any batch.
        condition: Of each sample.
        codebook_size: K.
        guidance: As for ``sample_euler``, of logits.
        no_condition: As for ``sample_euler``.
        num_steps: At most as many as there are cells do something.
        temperature: Of the noise on how sure the model is; it falls to 0 with the steps.
    """
    batch, num_cells = len(noise_seeds), math.prod(shape)
    indices = noise_seeds.new_full((batch, num_cells), codebook_size)
    both = joined(condition, no_condition) if guidance != 1.0 else None
    for step in range(num_steps):
        shares = (indices == codebook_size).to(torch.float32).mean(dim=1)
        given = indices.view(batch, *shape)
        if guidance == 1.0:
            logits = model(given, shares, condition)
        else:
            twice = model(torch.cat([given, given]), torch.cat([shares, shares]), both)
            with_it, without = twice.chunk(2)
            logits = torch.lerp(without, with_it, guidance)
        logits = logits.to(torch.float32).flatten(2).movedim(1, 2)
        found, sureness = _drawn(logits, noise_seeds, step, temperature * (1 - step / num_steps))
        is_open = indices == codebook_size
        sureness = sureness.masked_fill(~is_open, float("inf"))
        num_left = math.floor(math.cos(math.pi / 2 * (step + 1) / num_steps) * num_cells)
        num_left = 0 if step == num_steps - 1 else num_left
        stays_open = sureness.argsort(dim=1).argsort(dim=1) < num_left
        indices = torch.where(is_open & ~stays_open, found, indices)
    return indices.view(batch, *shape)


def _drawn(
    logits: Tensor, noise_seeds: Tensor, step: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return an index drawn for each cell [B, N], and how sure the model is of it, with noise."""
    num_cells, size = logits.shape[1:]
    found = (logits + _gumbel(noise_seeds, (num_cells, size), stream=8 + 2 * step)).argmax(dim=2)
    odds = logits.log_softmax(dim=2).gather(2, found[..., None])[..., 0]
    noise = _gumbel(noise_seeds, (num_cells,), stream=9 + 2 * step)
    return found, odds + temperature * noise


def _gumbel(noise_seeds: Tensor, shape: tuple[int, ...], *, stream: int) -> Tensor:
    uniform = torch.special.ndtr(keyed_normal(noise_seeds, shape, stream=stream))
    drawn: Tensor = -(-uniform.clamp(_SMALLEST, 1 - 1e-7).log()).log()
    return drawn


def _size_of(model: Any) -> int:
    """Return the codebook's size, of a model or of what is around it on several ranks."""
    return int(getattr(model, "module", model).codebook_size)
