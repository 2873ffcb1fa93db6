"""Memory that batches are written into, taken again once nobody holds what lay in it.

The system zeroes every page it hands out, which for large batches costs more than copying
them. A tensor keeps its memory's Python object alive, and so do its views and whatever else
shares its storage, so the object's count of references says whether anybody may still look.
"""

import math
import sys
from typing import Any

import numpy as np
import torch

Octets = np.ndarray[Any, np.dtype[np.uint8]]


class Buffers:
    """Pieces of memory per column, and tensors over those that nobody else holds."""

    def __init__(self, most: int) -> None:
        """Take nothing yet.

        Args:
            most: Pieces kept per column; whoever holds as many batches gets fresh memory
                for the next.
        """
        self._most = most
        self._pieces: dict[str, list[Octets]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a contiguous tensor that shares memory with no other; its values are any."""
        count = math.prod(shape)
        num_bytes = count * dtype.itemsize
        pieces = self._pieces.setdefault(name, [])
        index = _find_unused(pieces, num_bytes)
        if index is None:
            if len(pieces) >= self._most:
                too_small = _find_unused(pieces, 0)
                if too_small is None:
                    return torch.empty(shape, dtype=dtype)
                del pieces[too_small]
            pieces.append(torch.empty(num_bytes, dtype=torch.uint8).numpy())
            index = -1
        return torch.frombuffer(pieces[index], dtype=dtype, count=count).view(shape)


def _find_unused(pieces: list[Octets], least: int) -> int | None:
    """Return the place of a piece of at least so many bytes that only the list refers to."""
    for index in range(len(pieces)):
        if sys.getrefcount(pieces[index]) == _COUNT_UNUSED and len(pieces[index]) >= least:
            return index
    return None


_LONE = [np.zeros(1, np.uint8)]
_COUNT_UNUSED = sys.getrefcount(_LONE[0])
"""What the interpreter counts where a list alone refers to its item, the question included."""
