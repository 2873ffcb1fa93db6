"""The encoder that all tokenizers share: pixels to indices, and indices to vectors and pixels."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from latentcache.core.errors import EncoderError
from latentcache.encoders.arithmetic import pinned_arithmetic
from latentcache.encoders.discrete.token_models import TokenModel
from latentcache.encoders.shapes import check_batch
from latentcache.encoders.spec import EncoderSpec, SampleMeta

_CODES_AT_ONCE = 256
"""Whose distances to a whole codebook are in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelRule:
    """What an image processor does to pixels: ``(pixel * scale - mean) / std``, per channel.

    Attributes:
        scale: 255 times ``rescale_factor`` of pixels from 0 to 1; Chameleon's is 1.989.
        mean: Per channel.
        std: Per channel.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def apply(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return pixels [B, C, ...] as the model wants them."""
        mean, std = self._figures(pixels)
        return (pixels * self.scale - mean) / std

    def invert(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return pixels on the scale that came in."""
        mean, std = self._figures(pixels)
        return (pixels * std + mean) / self.scale

    def _figures(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (1, -1, *[1] * (like.ndim - 2))
        return like.new_tensor(self.mean).view(shape), like.new_tensor(self.std).view(shape)


class TokenEncoder:
    """One loaded tokenizer; always float32, as half a step moves an index.

    Threads take turns: some of these classes keep state while they run.
    """

    def __init__(
        self, model: TokenModel, spec: EncoderSpec, device: torch.device, rule: PixelRule
    ) -> None:
        """Keep the parts.

        Args:
            model: On its device, in ``eval``.
            spec: What is declared of it.
            device: Where it computes.
            rule: What is done to pixels in the spec's range.
        """
        self.spec, self.device = spec, device
        self._model, self._rule = model, rule
        self._turn = threading.Lock()

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return ``indices`` of every sample, int64: HW of a picture, THW of a clip."""
        check_batch(self.spec, pixels, metas)

        def encode() -> torch.Tensor:
            return self._model.indices(self._rule.apply(pixels.to(self.device, torch.float32)))

        return [{"indices": row} for row in self._run(encode)]

    def decode(self, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return pixels of a batch of indices.

        Raises:
            EncoderError: The model has no decoder.
        """
        indices = fields["indices"].to(self.device).long()

        def decode() -> torch.Tensor:
            pixels = self._model.decode(indices)
            if pixels is None:
                raise EncoderError(
                    f"encoder must have a decoder to show pixels, got {self.spec.name} without "
                    "one; look at its indices instead"
                )
            return self._rule.invert(pixels.float())

        return self._run(decode)

    def reset(self) -> None:
        """Drop cached memory of a GPU; the models begin each call anew."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _run(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        with self._turn, pinned_arithmetic(self.device, allow_tf32=False):
            return compute()


class CodebookEncoder(TokenEncoder):
    """A tokenizer whose indices name vectors."""

    def codebook_table(self) -> torch.Tensor:
        """Return the vectors [K, D], float32 on the CPU."""
        return self._table().float().cpu().contiguous()

    def codes_from_indices(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the vectors of a batch of indices, [..., D]."""
        return self._table()[indices.long()]

    def indices_from_codes(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the index of the nearest vector of each code."""
        assert self.spec.codebook is not None, "a tokenizer has a codebook"
        levels = torch.tensor(self.spec.codebook.levels, device=codes.device)
        if len(levels):
            steps = (codes * (levels // 2) + levels // 2).round().long()
            return (steps * torch.cumprod(levels, 0) // levels).sum(dim=-1)
        flat, table = codes.reshape(-1, codes.shape[-1]), self._table()
        parts = torch.split(flat, _CODES_AT_ONCE)
        nearest = [torch.cdist(some, table).argmin(dim=1) for some in parts]
        return torch.cat(nearest).view(codes.shape[:-1])

    def _table(self) -> torch.Tensor:
        table = self._model.table()
        assert table is not None, "checked when it was loaded"
        return table.detach()
