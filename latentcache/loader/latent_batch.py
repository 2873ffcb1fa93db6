"""A batch: a dict whose costly values are read when they are first looked at."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch

from latentcache.core.errors import ConfigError
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

    What trainers do to batches works: ``type(batch)({...})`` rebuilds one from values, ``to`` and
    ``pin_memory`` move its tensors, and it can be copied and pickled, which reads all of it.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        """Hold values; the loader makes batches with ``reading``.

        Args:
            values: By name.
        """
        self._values: dict[str, Any] = dict(values or {})
        self._pending: dict[str, Callable[[], Any]] = {}
        self._names = tuple(self._values)
        self._facts: BatchFacts | None = None
        self._state: Callable[[], dict[str, Any]] | None = None
        self._arrive: Callable[[], None] | None = None

    @classmethod
    def reading(
        cls,
        pending: Mapping[str, Callable[[], Any]],
        *,
        facts: BatchFacts,
        state: Callable[[], dict[str, Any]],
        arrive: Callable[[], None] | None = None,
    ) -> Self:
        """Return a batch whose values are read when they are looked at.

        Args:
            pending: Every name, in order, with what reads its value.
            facts: Where the batch stands.
            state: Gives the state after it.
            arrive: Makes tensors made on another CUDA stream safe to use on the caller's.
        """
        batch = cls()
        batch._pending, batch._names = dict(pending), tuple(pending)
        batch._facts, batch._state, batch._arrive = facts, state, arrive
        return batch

    def arrive(self) -> None:
        """Make the tensors safe to use on the current CUDA stream; the loader does so."""
        if self._arrive is not None:
            self._arrive()

    @property
    def facts(self) -> BatchFacts:
        """Where it stands in the run.

        Raises:
            ConfigError: The batch was rebuilt from values by something that moved it.
        """
        if self._facts is None:
            raise _rebuilt("facts")
        return self._facts

    @property
    def state(self) -> dict[str, Any]:
        """The loader's state after this batch; equal on all ranks.

        Keep this one, not the loader's own, where something reads ahead of the training.

        Raises:
            ConfigError: The batch was rebuilt from values by something that moved it.
        """
        if self._state is None:
            raise _rebuilt("state")
        return self._state()

    def to(self, device: str | torch.device, *, non_blocking: bool = False) -> Self:
        """Return the batch with its tensors on a device; what is not yet read, when it is."""
        return self._mapped(lambda value: _moved(value, device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return the batch with its tensors in pinned memory."""
        return self._mapped(_pinned)

    def _mapped(self, function: Callable[[Any], Any]) -> Self:
        def read(name: str) -> Callable[[], Any]:
            return lambda: function(self[name])

        batch = type(self)()
        # What was read is moved now, while a copy can overlap; the rest may never be asked for.
        batch._values = {name: function(value) for name, value in self._values.items()}
        batch._pending, batch._names = {name: read(name) for name in self._pending}, self._names
        batch._facts, batch._state = self._facts, self._state
        return batch

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            # Reading is not finished before it is remembered: an error is raised each time.
            self._values[name] = self._pending[name]()
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Batch({', '.join(self._names)}; {self._facts})"

    def __reduce__(self) -> tuple[Any, ...]:
        state = None if self._state is None else self._state()
        return _whole, (type(self), dict(self), self._facts, state)


def _whole(
    kind: type[Batch],
    values: Mapping[str, Any],
    facts: BatchFacts | None,
    state: dict[str, Any] | None,
) -> Batch:
    """Return a batch that was pickled."""
    batch = kind(values)
    batch._facts = facts
    batch._state = None if state is None else lambda: state
    return batch


def _rebuilt(name: str) -> ConfigError:
    return ConfigError(
        f"{name} must be asked of the loader's own batch, got one that was rebuilt from its "
        f"values; take {name} before the batch is moved, or move it with batch.to(device)"
    )


def _moved(value: Any, device: str | torch.device, *, non_blocking: bool) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=non_blocking)
    if isinstance(value, list):
        return [_moved(one, device, non_blocking=non_blocking) for one in value]
    return value


def _pinned(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.pin_memory()
    return [_pinned(one) for one in value] if isinstance(value, list) else value
