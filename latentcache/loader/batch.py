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
        state: The loader's state after it; equal on all ranks. Keep this one, not the
            loader's own, where something reads ahead.
    """

    def __init__(
        self,
        values: Mapping[str, Callable[[], Any]],
        *,
        facts: BatchFacts,
        state: Mapping[str, Any],
    ) -> None:
        self._pending = dict(values)
        self._values: dict[str, Any] = {}
        self.facts = facts
        self.state = dict(state)

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
