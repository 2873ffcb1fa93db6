"""What the runner asks of whoever runs its processes: calls, actors, and how both may end.

Two implementations: ``ray_workers`` for clusters and long runs, ``local_workers`` for small
local runs, which start in a fraction of Ray's time. Neither retries anything.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from latentcache.core.errors import RunError
from latentcache.runner.messages.actor_setup import ActorSetup

Ref = Any
"""The answer to come of one call; hashable."""

BUDGET_SHARE = 0.3
"""Largest share of an object store that decoded pixels may fill."""


class NotDoneError(Exception):
    """The answer is not there yet."""


class WorkerLostError(RunError):
    """The process that ran a call is gone.

    Attributes:
        is_strike: What it ran may be to blame; not so for a lost node, a cancel or a kill by
            Ray's memory monitor.
    """

    def __init__(self, text: str, *, is_strike: bool) -> None:
        super().__init__(text)
        self.is_strike = is_strike

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make it again: its keyword is no argument that pickle knows."""
        return partial(WorkerLostError, is_strike=self.is_strike), self.args


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What the run has to work with.

    Attributes:
        num_cpus: Over all nodes.
        num_gpus: Over all nodes.
        num_nodes: Alive now.
        object_store_bytes: Of the smallest node.
        is_local: Started by this process.
    """

    num_cpus: int
    num_gpus: int
    num_nodes: int
    object_store_bytes: int
    is_local: bool

    def budget_bytes(self, num_actors: int) -> int:
        """Return how many bytes of decoded pixels one actor may have in flight."""
        actors_per_node = -(-num_actors // max(1, self.num_nodes))
        return int(BUDGET_SHARE * self.object_store_bytes / max(1, actors_per_node))


class Calls(Protocol):
    """Runs functions of modules in other processes, one core each."""

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Ref:
        """Start ``function(argument)`` and return the reference of its answer."""
        ...

    def get(self, ref: Ref, *, timeout_s: float | None = None) -> Any:
        """Return the answer.

        Raises:
            NotDoneError: It was not there within ``timeout_s``.
            WorkerLostError: The process died.
            Exception: What the function raised.
        """
        ...

    def cancel(self, ref: Ref) -> None:
        """End the call, whatever it does."""
        ...


class ActorCalls(Calls, Protocol):
    """What an encode actor can ask for: calls, and a place for notes that outlives it."""

    def note(self, actor: str, unit: str, place: str) -> None:
        """Remember that ``actor`` runs ``place`` of ``unit`` next; return once that is safe."""
        ...


class Actor(Protocol):
    """An encode actor in another process."""

    def call(self, method: str, *arguments: Any, group: str = "") -> Ref:
        """Start a method in the threads of ``group`` and return the reference of its answer."""
        ...

    def kill(self) -> None:
        """End the process, whatever it does."""
        ...


class Workers(Calls, Protocol):
    """All that a run's driver works with.

    Attributes:
        facts: As of the last look.
        waits_for_encoder: Work begins when an encoder has loaded, not beside it.
    """

    facts: ClusterFacts
    waits_for_encoder: bool

    def look_again(self) -> ClusterFacts:
        """Return the facts as they are now."""
        ...

    def wait(self, refs: Sequence[Ref], *, timeout_s: float | None = None) -> list[Ref]:
        """Return those of ``refs`` that are done, once one is or after ``timeout_s``."""
        ...

    def start_encoder(self, setup: ActorSetup, name: str, *, needs_gpu: bool) -> Actor:
        """Start an encode actor."""
        ...

    def taken_note(self, actor: str) -> tuple[str, str]:
        """Return and forget the unit and place that ``actor`` noted last."""
        ...

    def scanning(self) -> AbstractContextManager[Calls]:
        """Yield what a scan's calls are made with."""
        ...

    def close(self) -> None:
        """End what was started here, but Ray itself."""
        ...
