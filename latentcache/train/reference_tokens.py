"""References of a model that edits: their latents as tokens before those of what is denoised.

As FLUX.1 Kontext and its like take them: each reference at its own size, in the order of its
columns, and told apart from what is denoised by its place in time (source: diffusers,
``FluxKontextPipeline.prepare_latents``, where a reference's ids begin with 1).

Dimension letters: B batch, C channels, T latent frames, H height, W width, R reference tokens,
V values of a token, P half the width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from latentcache.train.position_embeddings import angles_at


@dataclass(frozen=True, slots=True)
class References:
    """The reference tokens of a batch.

    Attributes:
        values: [B, R, V], zeros where there is none.
        places: int64 [B, R, 3]: (t, y, x) of each; t counts down from -1, a reference at a time.
        mask: bool [B, R], where there is one.
    """

    values: Tensor
    places: Tensor
    mask: Tensor

    def repeated(self, times: int) -> "References":
        """Return the same for as many batches, one after the other."""
        parts = (self.values, self.places, self.mask)
        return References(*(torch.cat([each] * times) for each in parts))

    def chosen(self, rows: Tensor) -> "References":
        """Return those of some samples."""
        return References(self.values[rows], self.places[rows], self.mask[rows])

    def before(
        self, given: Tensor, tokens: Tensor, rotations: tuple[Tensor, Tensor], mask: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """Return tokens with the references before them, how they are rotated, whom all attend to.

        Args:
            given: The references' tokens as the model embeds them, [B, R, D].
            tokens: [B, N, D].
            rotations: Cos and sin of these, [N, P].
            mask: Which of these count, bool [B, 1, 1, N]; None is all.
        """
        batch, num_tokens = tokens.shape[:2]
        angle = angles_at(self.places.to(torch.float32), 2 * rotations[0].shape[-1])[:, None]
        cos, sin = (
            torch.cat([first, then.expand(batch, 1, *then.shape)], dim=2)
            for first, then in zip((angle.cos(), angle.sin()), rotations, strict=True)
        )
        every = tokens.new_ones(batch, num_tokens, dtype=torch.bool)
        seen = every if mask is None else mask[:, 0, 0]
        attended = torch.cat([self.mask, seen], dim=1)[:, None, None]
        return torch.cat([given.type_as(tokens), tokens], dim=1), (cos, sin), attended


def reference_tokens(
    samples: Sequence[Sequence[Tensor]], patch: tuple[int, int, int], channels: int
) -> References:
    """Return the references of a batch, cut as a model cuts latents.

    Args:
        samples: Of each sample its references in order, [C, H, W] or [C, T, H, W]; an empty one
            stands for none and keeps the others' places.
        patch: Latent cells (T, H, W) of a token.
        channels: C.
    """
    cut = [
        [_tokens(one, patch, number) for number, one in enumerate(each) if one.numel()]
        for each in samples
    ]
    counts = [sum(len(values) for values, _ in each) for each in cut]
    like = samples[0][0]
    shape = (len(cut), max(counts))
    values = like.new_zeros((*shape, channels * prod(patch)), dtype=torch.float32)
    places = torch.zeros((*shape, 3), dtype=torch.int64, device=like.device)
    mask = torch.zeros(shape, dtype=torch.bool, device=like.device)
    for row, (each, count) in enumerate(zip(cut, counts, strict=True)):
        if count:
            values[row, :count] = torch.cat([one for one, _ in each]).to(torch.float32)
            places[row, :count] = torch.cat([where for _, where in each])
            mask[row, :count] = True
    return References(values, places, mask)


def _tokens(reference: Tensor, patch: tuple[int, int, int], number: int) -> tuple[Tensor, Tensor]:
    """Return the tokens [R, V] of one reference, and their places [R, 3]."""
    clip = reference if reference.ndim == 4 else reference[:, None]
    after = [size for cells, n in zip(reversed(patch), reversed(clip.shape[1:]), strict=True)
             for size in (0, -n % cells)]  # fmt: skip
    padded = F.pad(clip, after)
    pt, ph, pw = patch
    t, h, w = (n // p for n, p in zip(padded.shape[1:], patch, strict=True))
    tokens = padded.reshape(-1, t, pt, h, ph, w, pw).permute(1, 3, 5, 0, 2, 4, 6)
    axes = [torch.arange(n, device=clip.device) for n in (t, h, w)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    places[:, 0] = -1 - number  # before the first frame, whatever the frames of a clip
    return tokens.reshape(t * h * w, -1), places
