"""Places: what tells a transformer's tokens how far apart they are, and where.

Source: Su et al., "RoFormer", 2021 (RoPE), here on three axes.

Dimension letters: N image tokens, L text tokens, D width of a model, E width of a head, P half
of it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_THETA = 10_000.0


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
    pairs = head // 2
    shares = (pairs - 2 * (pairs // 3), pairs // 3, pairs // 3)
    places = [torch.arange(n, device=device, dtype=torch.float32) for n in grid]
    angles = []
    for share, place in zip(shares, torch.meshgrid(*places, indexing="ij"), strict=True):
        powers = torch.arange(share, device=device, dtype=torch.float32) / max(1, share)
        angles.append(place.reshape(-1, 1) * _THETA**-powers)
    angle = F.pad(torch.cat(angles, dim=1), (0, 0, num_text, 0))
    return angle.cos(), angle.sin()
