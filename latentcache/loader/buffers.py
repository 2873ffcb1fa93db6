"""Tensors that batches are written into: fresh ones, or a few that are used in turn."""

import torch

_Kind = tuple[str, tuple[int, ...], torch.dtype]


class Buffers:
    """Rings of tensors, one per column and shape.

    Attributes:
        count: Tensors in a ring; 0 gives fresh ones.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._rings: dict[_Kind, list[torch.Tensor]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a contiguous tensor whose values are of no account."""
        if not self.count:
            return torch.empty(shape, dtype=dtype)
        ring = self._rings.setdefault((name, shape, dtype), [])
        # The one that was taken longest ago comes first.
        is_full = len(ring) == self.count
        ring.append(ring.pop(0) if is_full else torch.empty(shape, dtype=dtype))
        return ring[-1]
