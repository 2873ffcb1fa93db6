"""Places: what tells a transformer's tokens how far apart they are, and where.

Source: Su et al., "RoFormer", 2021 (RoPE), here on three axes.

Dimension letters: N image tokens, L text tokens, D width of a model, E width of a head, P half
of it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_THETA = 10_000.0
TIME_WAVES = 128
"""Sines, and as many cosines, that tell a model the time."""


def time_embedding(times: Tensor) -> Tensor:
    """Return the sinusoidal embedding of 1000 t, float32 [B, 256] (Vaswani et al., 2017).

    Args:
        times: float [B].
    """
    powers = torch.arange(TIME_WAVES, device=times.device, dtype=torch.float32) / TIME_WAVES
    angle = 1000.0 * times.to(torch.float32)[:, None] * _THETA**-powers
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def position_embedding(grid: tuple[int, ...], width: int, device: torch.device) -> Tensor:
    """Return sines and cosines of each token's place, float32 [N, D]; a sixth of D each.

    Source: Peebles and Xie, 2023, whose DiT adds them in two dimensions; here in (t, y, x),
    and with periods up to 100 places.
    """
    share = width // 6
    powers = torch.arange(share, device=device, dtype=torch.float32) / share
    places = [torch.arange(n, device=device, dtype=torch.float32) for n in grid]
    axes = torch.meshgrid(*places, indexing="ij")
    angle = torch.cat([axis.reshape(-1, 1) * 100.0**-powers for axis in axes], dim=1)
    return F.pad(torch.cat([angle.sin(), angle.cos()], dim=1), (0, width - 6 * share))


def rotated(x: Tensor, rotations: tuple[Tensor, Tensor]) -> Tensor:
    """Return x [..., N, E] with each pair (e, e + E / 2) rotated by its token's angles."""
    cos, sin = rotations
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def rotations_of(
    grid: tuple[int, ...], num_text: int, head: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return cos and sin, float32 [L + N, P]; the pairs are dealt to (t, y, x), text stays."""
    places = [torch.arange(n, device=device, dtype=torch.float32) for n in grid]
    axes = torch.meshgrid(*places, indexing="ij")
    angle = angles_at(torch.stack([axis.reshape(-1) for axis in axes], dim=1), head)
    angle = F.pad(angle, (0, 0, num_text, 0))
    return angle.cos(), angle.sin()


def angles_at(places: Tensor, head: int) -> Tensor:
    """Return the angles of tokens at some places, float32 [..., P], of heads of this width.

    Args:
        places: float32 [..., 3]: (t, y, x).
        head: E.
    """
    pairs = head // 2
    shares = (pairs - 2 * (pairs // 3), pairs // 3, pairs // 3)
    angles = []
    for axis, share in enumerate(shares):
        powers = torch.arange(share, device=places.device, dtype=torch.float32) / max(1, share)
        angles.append(places[..., axis, None] * _THETA**-powers)
    return torch.cat(angles, dim=-1)
