"""A batch: a dict whose costly values are read when they are first looked at."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from latentcache.core.media import Bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """Where a batch stands in the run.

    Attributes:
        step: Optimizer step it belongs to, from 0.
        micro: Micro-batch of the step, from 0.
        bucket: Pixel shape of its samples; the same on all ranks at a step.
        stream: Name of the stream it was drawn from.
        num_substituted: Samples of this rank that stand in for rows a column lacks.
    """

    step: int
    micro: int
    bucket: Bucket
    stream: str
    num_substituted: int


class Batch(Mapping[str, Any]):
    """One micro-batch of one rank.

    Attributes:
        facts: Where it stands in the run.
    """

    def __init__(
        self,
        pending: Mapping[str, Callable[[], Any]],
        *,
        facts: BatchFacts,
        state: Callable[[], dict[str, Any]],
        arrive: Callable[[], None] | None = None,
    ) -> None:
        """Hold what reads the values.

        Args:
            pending: Every name, in order, with what reads its value.
            facts: Where the batch stands.
            state: Gives the state after it.
            arrive: Makes tensors made on another CUDA stream safe to use on the caller's.
        """
        self._pending = pending
        self._values: dict[str, Any] = {}
        self._state = state
        self._arrive = arrive
        self.facts = facts

    def arrive(self) -> None:
        """Make the tensors safe to use on the current CUDA stream; the loader does so."""
        if self._arrive is not None:
            self._arrive()

    @property
    def state(self) -> dict[str, Any]:
        """The loader's state after this batch; equal on all ranks.

        Keep this one, not the loader's own, where something reads ahead of the training.
        """
        return self._state()

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            # Reading is not finished before it is remembered: an error is raised each time.
            self._values[name] = self._pending[name]()
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pending)

    def __len__(self) -> int:
        return len(self._pending)

    def __repr__(self) -> str:
        return f"Batch({', '.join(self._pending)}; {self.facts})"
