"""What the encode thread asks of a batch, whatever its input is."""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self

import torch

from latentcache.encoders import Encoder


class FedBatch(Protocol):
    """A batch of any input, as the encode thread takes it."""

    @property
    def keys(self) -> tuple[str, ...]:
        """One per row; "" for a filler row, whose output is dropped."""
        ...

    @property
    def label(self) -> str:
        """What is encoded, for sentences."""
        ...

    def only(self, positions: Sequence[int]) -> Self:
        """Return the batch with every row but ``positions`` blanked."""
        ...

    def encoded_by(self, encoder: Encoder, *, seed: int) -> Sequence[Mapping[str, torch.Tensor]]:
        """Return what ``encoder`` gives of each row."""
        ...
