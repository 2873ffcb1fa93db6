"""Features of a loaded vision model: pictures resized to its patch grid, special tokens dropped.

Dimension letters: B batch, C channels, H height, W width, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from latentcache.encoders.arithmetic import pinned_arithmetic
from latentcache.encoders.features.feature_presets import FeatureKnobs
from latentcache.encoders.shapes import check_batch
from latentcache.encoders.spec import EncoderSpec, SampleMeta


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What of a vision model is no number of its weights.

    Attributes:
        patch: Edge in pixels.
        mean: Per channel of pixels from 0 to 1.
        std: The same.
        norm_eps: Of its last norm.
    """

    patch: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    norm_eps: float


class VisionFeatures:
    """Encodes pictures as the tokens of a vision model, one per cell of the planned picture."""

    def __init__(
        self, model: Any, spec: EncoderSpec, knobs: FeatureKnobs, facts: ModelFacts
    ) -> None:
        """Keep the parts.

        Args:
            model: On its device, in ``eval``.
            spec: What is declared of it.
            knobs: How it is read.
            facts: What it is given.
        """
        self.spec = spec
        self.device: torch.device = next(model.parameters()).device
        self._model, self._knobs, self._facts = model, knobs, facts
        self._kind = type(model).__name__
        self._dtype: torch.dtype = getattr(torch, spec.compute_dtype)

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return ``z`` of every picture, CHW or NC."""
        check_batch(self.spec, pixels, metas)
        grid = (pixels.shape[2] // self._knobs.cell, pixels.shape[3] // self._knobs.cell)
        with pinned_arithmetic(self.device, allow_tf32=False):
            states = self._states(self._given(pixels.to(self.device), grid), grid)
        if self._knobs.layout == "NC":
            return [{"z": each} for each in states]
        cells = states.transpose(1, 2)
        return [{"z": each.reshape(-1, *grid)} for each in cells]

    def reset(self) -> None:
        """Do nothing: there is no state."""

    def _given(self, pixels: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """Return pictures of a patch per cell, normalized as the model wants them."""
        facts = self._facts
        size = [edge * facts.patch for edge in grid]
        if list(pixels.shape[2:]) != size:
            pixels = F.interpolate(pixels.float(), size=size, mode="bicubic", antialias=True)
            pixels = pixels.clamp(0.0, 1.0)
        mean, std = (
            torch.tensor(values, device=pixels.device).view(1, -1, 1, 1)
            for values in (facts.mean, facts.std)
        )
        return ((pixels - mean) / std).to(self._dtype)

    def _states(self, pixels: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """Return the tokens of the picture, [B, N, C]."""
        num_tokens, layers = grid[0] * grid[1], self._knobs.layer_numbers
        found = self._model(output_hidden_states=True, **self._arguments(pixels, grid))
        states: torch.Tensor
        if self._knobs.norm == "model":
            states = found.last_hidden_state
        else:
            states = torch.cat([found.hidden_states[layer] for layer in layers or (-1,)], dim=-1)
        # Special tokens come first: the class, and registers where there are any.
        states = states[:, -num_tokens:]
        if self._knobs.norm == "plain":
            parts = states.chunk(max(1, len(layers)), dim=-1)
            states = torch.cat(
                [F.layer_norm(part, part.shape[-1:], eps=self._facts.norm_eps) for part in parts],
                dim=-1,
            )
        return states

    def _arguments(self, pixels: torch.Tensor, grid: tuple[int, int]) -> dict[str, Any]:
        batch, num_tokens = len(pixels), grid[0] * grid[1]
        if self._kind == "Siglip2VisionModel":
            ones = torch.ones((batch, num_tokens), dtype=torch.int64, device=pixels.device)
            shapes = torch.tensor([grid] * batch, device=pixels.device)
            return {
                "pixel_values": patches_of(pixels, self._facts.patch),
                "pixel_attention_mask": ones,
                "spatial_shapes": shapes,
            }
        arguments: dict[str, Any] = {"pixel_values": pixels}
        if self._kind in ("SiglipVisionModel", "ViTMAEModel"):
            arguments["interpolate_pos_encoding"] = True
        if self._kind == "ViTMAEModel":  # tokens are sorted by it: so they stay in order
            noise = torch.arange(num_tokens, dtype=torch.float32, device=pixels.device)
            arguments["noise"] = noise.expand(batch, -1)
        return arguments


def patches_of(pixels: torch.Tensor, patch: int) -> torch.Tensor:
    """Return patches [B, N, patch * patch * 3], each (y, x, channel).

    Source: transformers, ``image_processing_siglip2.convert_image_to_patches``.
    """
    batch, channels, height, width = pixels.shape
    cut = pixels.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)
