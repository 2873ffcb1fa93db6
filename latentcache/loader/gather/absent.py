"""Samples that have no medium of a role: blank in their batch, which says so beside them."""

from typing import TypeVar

import torch

Samples = TypeVar("Samples", torch.Tensor, list[torch.Tensor])


def blanked(samples: Samples, is_absent: torch.Tensor) -> Samples:
    """Return samples with zeros where one is absent; of a list one without any element.

    Args:
        samples: Of a batch, [B, ...] or a list.
        is_absent: bool [B].
    """
    if not is_absent.any():
        return samples
    if isinstance(samples, torch.Tensor):
        samples[is_absent.to(samples.device)] = 0
        return samples
    blanks: list[bool] = is_absent.tolist()
    return [_empty(samples[row]) if blank else samples[row] for row, blank in enumerate(blanks)]


def _empty(sample: torch.Tensor) -> torch.Tensor:
    return sample.new_zeros((len(sample), *[0] * (sample.ndim - 1)))
