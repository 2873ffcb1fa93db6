"""From an encoder's output to stored fields: the policy applied, values rounded, noise drawn."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray

from latentcache.core.fields import Field
from latentcache.encoders.spec import PosteriorPolicy


def gaussian_fields(moments: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return ``mean`` and ``logvar`` of moments with both along the channels, as diffusers does.

    Source of the bounds: ``DiagonalGaussianDistribution`` in diffusers.
    """
    mean, logvar = torch.chunk(moments, 2, dim=1)
    return {"mean": mean, "logvar": logvar.clamp(-30.0, 20.0)}


def stack_fields(raw: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return one batch of what ``encode`` left per sample: fields with a leading B axis."""
    return {name: torch.stack([sample[name] for sample in raw]) for name in raw[0]}


@dataclass(frozen=True, slots=True)
class Piece:
    """Some latent frames of a longer clip.

    Attributes:
        start: The first of them.
        total: Of the whole clip.
    """

    start: int
    total: int


def apply_policy(
    raw: Mapping[str, torch.Tensor],
    fields: Sequence[Field],
    *,
    policy: PosteriorPolicy,
    seed: int,
    keys: Sequence[str],
    piece: Piece | None = None,
) -> dict[str, torch.Tensor]:
    """Return the stored fields of a batch: on the CPU, in storage dtype, contiguous.

    Rounding to the storage dtype is the last thing that happens to a value, and it can
    overflow: whoever stores checks that the result is finite.

    Args:
        raw: The encoder's fields with a leading B axis, on any device.
        fields: From ``stored_fields``, with the same policy.
        policy: As given to ``stored_fields``.
        seed: Of the posterior noise; used by ``sample`` only.
        keys: Sample keys, one per row; they key the noise.
        piece: Which latent frames of their clips these are; None for all of them.
    """
    stored = {}
    for field in fields:
        if field.kind == "sample" and policy == "sample" and "mean" in raw:
            axis = field.axes.index("T") if piece is not None else 0
            noise = partial(_noise, seed=seed, piece=piece, axis=axis)
            values = _draw(raw["mean"], raw["logvar"], noise, keys)
        else:
            values = share_broadcast_axes(raw[field.name], field)
        stored[field.name] = values.to(getattr(torch, field.dtype)).cpu().contiguous()
    return stored


def share_broadcast_axes(values: torch.Tensor, field: Field) -> torch.Tensor:
    """Return ``values`` (B first) with each axis of ``field.broadcast`` cut to size 1.

    Some models repeat one log-variance over all channels (LTX); it is stored once.
    """
    for letter in field.broadcast:
        values = values.narrow(1 + field.axes.index(letter), 0, 1)
    return values


def posterior_noise(shape: tuple[int, ...], *, seed: int, key: str) -> NDArray[np.float32]:
    """Return standard normal noise that depends on (seed, sample key) alone.

    Raw Philox words and Box-Muller in float64: numpy may change its own normal
    distribution between versions, these are fixed by their definition.
    """
    size = math.prod(shape)
    return _flat_noise(size, 0, size, key=_philox_key(seed, key)).reshape(shape)


def noise_of_piece(
    shape: tuple[int, ...], piece: Piece, axis: int, *, seed: int, key: str
) -> NDArray[np.float32]:
    """Return what ``posterior_noise`` of the whole clip has at a piece's place.

    Args:
        shape: Of the piece.
        piece: Where it is along ``axis``.
        axis: That of time.
        seed: As there.
        key: As there.
    """
    num_rows, step = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    row, length = piece.total * step, shape[axis] * step
    philox_key = _philox_key(seed, key)
    noise = np.empty((num_rows, length), np.float32)
    for index in range(num_rows):
        start = index * row + piece.start * step
        noise[index] = _flat_noise(num_rows * row, start, start + length, key=philox_key)
    return noise.reshape(shape)


def _flat_noise(size: int, start: int, stop: int, *, key: int) -> NDArray[np.float32]:
    """Return entries ``start`` to ``stop`` of ``size``: cosines of all pairs, then their sines."""
    num_pairs = (size + 1) // 2
    middle = min(max(start, num_pairs), stop)
    parts = [
        _halves(np.cos, num_pairs, (start, middle), key),
        _halves(np.sin, num_pairs, (middle - num_pairs, stop - num_pairs), key),
    ]
    return np.concatenate(parts).astype(np.float32)


def _halves(
    wave: "np.ufunc", num_pairs: int, span: tuple[int, int], key: int
) -> NDArray[np.float64]:
    """Return the noise of some pairs that ``wave`` makes of their angles."""
    if span[1] <= span[0]:
        return np.empty(0)
    radius = np.sqrt(-2.0 * np.log(_uniform(key, *span)))
    angle = (2.0 * np.pi) * _uniform(key, num_pairs + span[0], num_pairs + span[1])
    half: NDArray[np.float64] = radius * wave(angle)
    return half


_WORDS_PER_STEP = 4
"""Philox 4x64 gives four words per step of its counter."""


def _uniform(key: int, start: int, stop: int) -> NDArray[np.float64]:
    """Return words ``start`` to ``stop`` of a key's stream as numbers between 0 and 1."""
    skipped, rest = divmod(start, _WORDS_PER_STEP)
    philox = np.random.Philox(key=key)
    philox.advance(skipped)
    words = philox.random_raw(rest + stop - start)[rest:]
    return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _philox_key(seed: int, key: str) -> int:
    digest = blake2b(key=seed.to_bytes(16, "little", signed=True), digest_size=16)
    digest.update(b"posterior\0" + key.encode())
    return int.from_bytes(digest.digest(), "little")


def _noise(
    shape: tuple[int, ...], key: str, *, seed: int, piece: Piece | None, axis: int
) -> NDArray[np.float32]:
    if piece is None:
        return posterior_noise(shape, seed=seed, key=key)
    return noise_of_piece(shape, piece, axis, seed=seed, key=key)


def _draw(
    mean: torch.Tensor,
    logvar: torch.Tensor,
    noise_of: Callable[[tuple[int, ...], str], NDArray[np.float32]],
    keys: Sequence[str],
) -> torch.Tensor:
    # On the CPU in float32 whatever the device, so that the draw is the same everywhere.
    mean, logvar = mean.float().cpu(), logvar.float().cpu()
    shape = tuple(mean.shape[1:])
    noise = np.stack([noise_of(shape, key) for key in keys])
    return mean + torch.exp(0.5 * logvar) * torch.from_numpy(noise)
