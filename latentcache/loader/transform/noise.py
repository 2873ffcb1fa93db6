"""Randomness of a sample: the same numbers for (seed, sample, draw) on any rank and device.

Counter-based: number ``i`` of a sample's noise is a hash of its seed and ``i``, so a batch
is computed in one go, in integers, and only the last few float operations may round
differently on another device.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from latentcache.core.seeds import keyed_uint64
from latentcache.loader.order.feistel import Indices, mix, mixed_where
from latentcache.store.format import KEY_DIGITS

_INCREMENT, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_FLOAT_BITS = 24


def noise_seeds(
    keys: Sequence[str] | torch.Tensor,
    draws: Indices,
    *,
    seed: int,
    stream: str | None = None,
    replaced: Indices | None = None,
) -> torch.Tensor:
    """Return one seed per sample, int64 [B], from its key and how often it was drawn before.

    Hashed for all samples at once: a cryptographic hash for each costs more than the batch.

    Args:
        keys: Of the samples, as strings or as their characters, uint8 [B, 20].
        draws: How often each was drawn before, [B].
        seed: Of the run.
        stream: That they are drawn from: a store listed twice gives its samples other noise
            each time. None for runs of order version 1, which had none.
        replaced: 1 + the row that each stands in for, 0 where it stands in for none.
    """
    if isinstance(keys, torch.Tensor):
        text = keys.numpy()
    else:
        characters = np.frombuffer("".join(keys).encode("ascii"), np.uint8)
        text = characters.reshape(len(keys), KEY_DIGITS)
    padded = np.zeros((len(keys), 24), np.uint8)
    padded[:, :KEY_DIGITS] = text
    words = np.concatenate([padded.view(np.uint64), draws.astype(np.uint64)[:, None]], axis=1)
    names = ("noise",) if stream is None else ("noise", stream)
    found = np.full(len(keys), keyed_uint64(seed, *names), np.uint64)
    for column in words.T:
        found = mix(found ^ column, _INCREMENT)
    if replaced is not None:
        found = mixed_where(found, replaced)
    return torch.from_numpy(found.view(np.int64))


def keyed_normal(seeds: torch.Tensor, shape: Sequence[int], *, stream: int = 0) -> torch.Tensor:
    """Return standard normal noise, float32 [B, *shape], on the seeds' device.

    Source: Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958.

    Args:
        seeds: int64 [B].
        shape: Of one sample.
        stream: Another number gives independent noise for the same samples.
    """
    num_values = math.prod(shape)
    num_pairs = -(-num_values // 2)
    counters = torch.arange(num_pairs, device=seeds.device, dtype=torch.int64)
    starts = _mix(seeds + _signed(_INCREMENT * (stream + 1)))
    bits = _mix(starts[:, None] + counters * _signed(_INCREMENT))
    # 24 bits each: (0, 1] for the logarithm, [0, 1) for the angle.
    radius_bits = (bits >> 40) & ((1 << _FLOAT_BITS) - 1)
    angle_bits = bits & ((1 << _FLOAT_BITS) - 1)
    scale = 2.0**-_FLOAT_BITS
    radius = ((radius_bits + 1).to(torch.float32) * scale).log_().mul_(-2.0).sqrt_()
    angle = angle_bits.to(torch.float32).mul_(2.0 * math.pi * scale)
    noise = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
    return noise[:, :num_values].reshape(-1, *shape)


def sample_posterior(mean: torch.Tensor, logvar: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    """Return ``mean + exp(logvar / 2) * noise``, float32, a tensor of its own.

    Args:
        mean: [B, *shape].
        logvar: The same, or broadcast over it.
        seeds: int64 [B].
    """
    noise = keyed_normal(seeds, mean.shape[1:])
    # The bounds of every published Gaussian VAE; outside them exp overflows.
    std = logvar.to(torch.float32).clamp(-30.0, 20.0).mul_(0.5).exp_()
    return noise.mul_(std).add_(mean.to(torch.float32))


def _mix(words: torch.Tensor) -> torch.Tensor:
    """Return splitmix64's finaliser of each word; int64 wraps as uint64 does."""
    words = (words ^ _shifted(words, 30)) * _signed(_FIRST)
    words = (words ^ _shifted(words, 27)) * _signed(_SECOND)
    return words ^ _shifted(words, 31)


def _shifted(words: torch.Tensor, bits: int) -> torch.Tensor:
    # torch shifts int64 arithmetically: the copies of the sign are masked off.
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    word &= (1 << 64) - 1
    return word - (1 << 64) if word >> 63 else word
