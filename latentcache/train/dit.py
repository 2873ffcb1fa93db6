"""A diffusion transformer for latents of any size: images and clips, one model.

Sources: Peebles and Xie, "Scalable Diffusion Models with Transformers", 2023 (adaLN-zero);
Su et al., "RoFormer", 2021 (RoPE), here on three axes; Dehghani et al., "Scaling Vision
Transformers to 22 Billion Parameters", 2023 (layer norm of queries and keys).

Dimension letters: B batch, C channels, T latent frames, H height, W width, N image tokens,
L text tokens, D width, E width of a head, P half of it.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentcache.core.errors import ConfigError
from latentcache.train.conditioning_latents import concatenated
from latentcache.train.flow import Condition
from latentcache.train.position_embeddings import (
    TIME_WAVES,
    position_embedding,
    rotated,
    rotations_of,
    time_embedding,
)
from latentcache.train.reference_tokens import References


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTConfig:
    """The size of a model and what it is told.

    Attributes:
        channels: C of the latents it is given, normalized.
        patch: Latent cells (T, H, W) of a token; a grid it does not divide is padded.
        width: D.
        depth: Blocks.
        num_heads: Of attention; D over it is even and at least 8.
        num_classes: Labels 0 to ``num_classes - 1``; ``num_classes`` itself is "no label".
        text_dim: Width of text embeddings.
        conditioning_channels: Of latents that are given beside the noisy ones; see
            ``train.conditioning_latents``.
        mlp_ratio: Hidden width of a block's MLP over D.
        has_position_embedding: Tell tokens where they are, by sines; rotations tell only how far
            apart.
        takes_references: Tokens of further pictures may come first; see ``train.reference_tokens``.
    """

    channels: int
    patch: tuple[int, int, int] = (1, 2, 2)
    width: int = 384
    depth: int = 12
    num_heads: int = 6
    num_classes: int | None = None
    text_dim: int | None = None
    conditioning_channels: int = 0
    mlp_ratio: float = 4.0
    has_position_embedding: bool = False
    takes_references: bool = False

    def __post_init__(self) -> None:
        if len(self.patch) != 3 or min(self.patch) < 1:
            raise ConfigError(f"patch must be three whole numbers from 1 up, got {self.patch}")
        for name in ("channels", "width", "depth", "num_heads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.conditioning_channels < 0:
            raise ConfigError(
                f"conditioning_channels must be 0 or more, got {self.conditioning_channels}"
            )
        if self.num_classes is not None and self.text_dim is not None:
            raise ConfigError(
                f"num_classes and text_dim must not both be given, got {self.num_classes} and "
                f"{self.text_dim}; a model is told labels or text"
            )
        head = self.width / self.num_heads
        if head < 8 or head % 2:
            raise ConfigError(
                f"width over num_heads must be even and at least 8, got {self.width} over "
                f"{self.num_heads}; use a width of {max(8, 2 * round(head / 2)) * self.num_heads}"
            )


class DiT(nn.Module):
    """Predicts the velocity of noisy latents."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.dit_config = config  # not `config`: transformers.Trainer writes into that
        self.channels, self.num_classes = config.channels, config.num_classes
        self.text_dim, self.conditioning_channels = config.text_dim, config.conditioning_channels
        hidden = round(config.width * config.mlp_ratio)
        width, values = config.width, config.channels * math.prod(config.patch)
        self.embed = nn.Linear(
            values + config.conditioning_channels * math.prod(config.patch), width
        )
        self.takes_references = config.takes_references
        if self.takes_references:
            self.reference = nn.Linear(values, width)
        waves = nn.Linear(2 * TIME_WAVES, width)
        self.time = nn.Sequential(waves, nn.SiLU(), nn.Linear(width, width))
        if config.num_classes is not None:
            # Of std 1, as torch draws it: with 0.02 a small model learns blobs.
            self.label = nn.Embedding(config.num_classes + 1, width)
        if config.text_dim is not None:
            self.text = nn.Linear(config.text_dim, width)
            self.no_text = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(
            Block(width, config.num_heads, hidden) for _ in range(config.depth)
        )
        self.modulation = nn.Linear(width, 2 * width)
        self.unembed = nn.Linear(width, values)
        self.apply(_initialise)
        for name, parameter in self.named_parameters():
            if "modulation" in name or "unembed" in name:
                nn.init.zeros_(parameter)

    def describe(self) -> dict[str, Any]:
        """Return what must be equal for weights to fit, as plain values."""
        values = {"kind": "dit", **asdict(self.dit_config), "patch": list(self.dit_config.patch)}
        if not self.conditioning_channels:  # as models were described before there were any
            del values["conditioning_channels"]
        for name in ("has_position_embedding", "takes_references"):
            if not values[name]:
                del values[name]
        return values

    def forward(
        self,
        latents: Tensor,
        times: Tensor,
        condition: Condition | None = None,
        conditioning_latents: Tensor | None = None,
        references: References | None = None,
    ) -> Tensor:
        """Return velocities of the shape of ``latents``.

        Args:
            latents: [B, C, T, H, W] or [B, C, H, W].
            times: float [B]; 0 is data, 1 is noise.
            condition: Labels, int64 [B]; or text [B, L, text_dim] and which of its tokens
                count, bool [B, L] (none: "no text"); None conditions on nothing.
            conditioning_latents: As ``latents``, with ``conditioning_channels``.
            references: Of a model that takes them; None is none.
        """
        clips = latents if latents.ndim == 5 else latents.unsqueeze(2)
        padded = concatenated(clips, conditioning_latents, self.dit_config.patch)
        grid = tuple(n // p for n, p in zip(padded.shape[2:], self.dit_config.patch, strict=True))
        tokens = self.embed(self._patches(padded, grid))
        if self.dit_config.has_position_embedding:
            tokens = tokens + position_embedding(grid, self.dit_config.width, tokens.device).to(
                tokens.dtype
            )
        told = self.time(time_embedding(times).to(tokens.dtype))
        tokens, told, mask = self._tell(condition, tokens, told)
        num_text = tokens.shape[1] - math.prod(grid)
        head = self.dit_config.width // self.dit_config.num_heads
        rotations = rotations_of(grid, num_text, head, tokens.device)
        if references is not None:
            given = self.reference(references.values.to(tokens.dtype))
            tokens, rotations, mask = references.before(given, tokens, rotations, mask)
        for block in self.blocks:
            tokens = block(tokens, told, rotations, mask)
        shift, scale = self.modulation(told)[:, None].chunk(2, dim=-1)
        patches = self.unembed(_norm(tokens[:, -math.prod(grid) :]) * (1 + scale) + shift)
        velocity = self._cells(patches, grid)[tuple(slice(n) for n in clips.shape)]
        return velocity.reshape(latents.shape)

    def _tell(
        self, condition: Condition | None, tokens: Tensor, told: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return tokens with text before them, what blocks are told, and whom attention sees."""
        if self.num_classes is not None:
            labels = tokens.new_full((len(tokens),), self.num_classes, dtype=torch.int64)
            label = self.label(labels if condition is None else condition)
            return tokens + label[:, None], F.silu(told + label), None
        if self.text_dim is None:
            return tokens, F.silu(told), None
        if not isinstance(condition, tuple):
            condition = (
                tokens.new_zeros(len(tokens), 0, self.text_dim),
                tokens.new_zeros(len(tokens), 0, dtype=torch.bool),
            )
        text, mask = self.text(condition[0].to(tokens.dtype)), condition[1]
        count = mask.sum(dim=1, keepdim=True)
        mean = (text * mask[..., None]).sum(dim=1) / count.clamp(min=1)
        told = told + torch.where(count > 0, mean, self.no_text.to(mean.dtype))
        seen = torch.cat([mask, mask.new_ones(tokens.shape[:2])], dim=1)
        return torch.cat([text.type_as(tokens), tokens], dim=1), F.silu(told), seen[:, None, None]

    def _patches(self, latents: Tensor, grid: tuple[int, ...]) -> Tensor:
        (t, h, w), (pt, ph, pw) = grid, self.dit_config.patch
        cut = latents.reshape(len(latents), -1, t, pt, h, ph, w, pw)
        return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(len(latents), t * h * w, -1)

    def _cells(self, patches: Tensor, grid: tuple[int, ...]) -> Tensor:
        (t, h, w), (pt, ph, pw) = grid, self.dit_config.patch
        cut = patches.reshape(len(patches), t, h, w, self.channels, pt, ph, pw)
        joined = cut.permute(0, 4, 1, 5, 2, 6, 3, 7)
        return joined.reshape(len(patches), self.channels, t * pt, h * ph, w * pw)


class Block(nn.Module):
    """Attention and an MLP, each scaled, shifted and gated by the condition."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.num_heads, self.head = num_heads, width // num_heads
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.query_norm, self.key_norm = nn.LayerNorm(self.head), nn.LayerNorm(self.head)
        self.proj = nn.Linear(width, width)
        up, down = (nn.Linear(*n) for n in ((width, hidden), (hidden, width)))
        self.mlp = nn.Sequential(up, nn.GELU(approximate="tanh"), down)

    def forward(
        self, tokens: Tensor, told: Tensor, rotations: tuple[Tensor, Tensor], mask: Tensor | None
    ) -> Tensor:
        """Return tokens [B, L + N, D] after one block."""
        parts = self.modulation(told)[:, None].chunk(6, dim=-1)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts
        attended = self._attend(_norm(tokens) * (1 + scale_a) + shift_a, rotations, mask)
        tokens = tokens + gate_a * attended
        mixed: Tensor = tokens + gate_m * self.mlp(_norm(tokens) * (1 + scale_m) + shift_m)
        return mixed

    def _attend(self, x: Tensor, rotations: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        batch, num_tokens, width = x.shape
        split = self.qkv(x).view(batch, num_tokens, 3, self.num_heads, self.head)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        query = rotated(self.query_norm(query), rotations).type_as(value)
        key = rotated(self.key_norm(key), rotations).type_as(value)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        mixed: Tensor = self.proj(seen.transpose(1, 2).reshape(batch, num_tokens, width))
        return mixed


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
