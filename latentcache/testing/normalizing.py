"""The arithmetic of ``Normalizer``, both ways, plainly: what the contract checks against."""

from collections.abc import Sequence

import torch

from latentcache.encoders import NormalizerOp


def normalize(latents: torch.Tensor, ops: Sequence[NormalizerOp], axes: str) -> torch.Tensor:
    """Return latents in the DiT's space.

    Args:
        latents: B first, then ``axes``.
        ops: In the order they apply.
        axes: Letters of the dimensions after B.
    """
    for op in ops:
        latents = _apply(latents, op, axes)
        axes = _axes_after(op, axes)
    return latents


def denormalize(latents: torch.Tensor, ops: Sequence[NormalizerOp], axes: str) -> torch.Tensor:
    """Return latents in the encoder's own space; inverse of ``normalize``."""
    before = []
    for op in ops:
        before.append(axes)
        axes = _axes_after(op, axes)
    for op, letters in zip(reversed(ops), reversed(before), strict=True):
        latents = _invert(latents, op, letters)
    return latents


def _axes_after(op: NormalizerOp, axes: str) -> str:
    return op.axes if op.op == "permute" else axes


def _swapped(latents: torch.Tensor, inner: int, *, is_swapped: bool) -> torch.Tensor:
    """Return channels of (outer, inner) as (inner, outer), if they are to be swapped."""
    if not is_swapped:
        return latents
    batch, channels, *grid = latents.shape
    parts = latents.reshape(batch, channels // inner, inner, *grid)
    return parts.transpose(1, 2).reshape(latents.shape)


def _apply(latents: torch.Tensor, op: NormalizerOp, axes: str) -> torch.Tensor:
    if op.op == "patchify":
        patches = torch.nn.functional.pixel_unshuffle(latents, op.size)
        return _swapped(patches, op.size**2, is_swapped=op.axes == "HWC")
    if op.op == "permute":
        return latents.permute(0, *(1 + axes.index(letter) for letter in op.axes))
    values = _spread(latents, op, axes)
    if op.op == "subtract":
        return latents - values
    if op.op == "divide":
        return latents / values
    if op.op == "multiply":
        return latents * values
    if op.op == "add":
        return latents + values
    raise NotImplementedError(f"operation {op.op}")


def _invert(latents: torch.Tensor, op: NormalizerOp, axes: str) -> torch.Tensor:
    if op.op == "patchify":
        channels = latents.shape[1] // op.size**2
        latents = _swapped(latents, channels, is_swapped=op.axes == "HWC")
        return torch.nn.functional.pixel_shuffle(latents, op.size)
    if op.op == "permute":
        return latents.permute(0, *(1 + op.axes.index(letter) for letter in axes))
    values = _spread(latents, op, axes)
    if op.op == "subtract":
        return latents + values
    if op.op == "divide":
        return latents * values
    if op.op == "multiply":
        return latents / values
    if op.op == "add":
        return latents - values
    raise NotImplementedError(f"operation {op.op}")


def _spread(latents: torch.Tensor, op: NormalizerOp, axes: str) -> torch.Tensor:
    """Return the op's values shaped to broadcast over ``latents``.

    Raises:
        ValueError: There are neither one nor as many values as the op's axes hold.
    """
    values = torch.tensor(op.values, dtype=latents.dtype)
    if len(op.values) == 1:
        return values
    if op.axis == "CT":  # a table of op.size latent frames, of which a clip takes the first
        table = values.reshape(-1, op.size)[:, : latents.shape[1 + axes.index("T")]]
        return table[..., None, None]
    sizes = [latents.shape[1 + axes.index(a)] if a in op.axis else 1 for a in axes]
    return values.reshape(sizes)
