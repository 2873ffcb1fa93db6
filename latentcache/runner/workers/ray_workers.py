"""Calls and actors of Ray; ``max_retries=0`` everywhere, because only our code retries."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import ray
from ray.exceptions import (
    GetTimeoutError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from latentcache.core.errors import first_line
from latentcache.runner.encode.actor_setup import MAX_UNIT_THREADS, ActorSetup
from latentcache.runner.workers.calls import (
    ActorCalls,
    Calls,
    ClusterFacts,
    NotDoneError,
    WorkerLostError,
)
from latentcache.runner.workers.cluster import cluster_facts

Ref = Any


@cache
def _task(function: Callable[[Any], Any]) -> Any:
    # Ray's own retry would run a task again unseen by the actor that counts its strikes.
    return ray.remote(num_cpus=1, max_retries=0, max_calls=0)(function)


class RayCalls:
    """Calls from whichever process of the cluster asks."""

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Ref:
        """Start a task."""
        return _task(function).remote(argument)

    def get(self, ref: Ref, *, timeout_s: float | None = None) -> Any:
        """Return a task's or a method's answer; see ``Calls.get``."""
        try:
            return ray.get(ref, timeout=timeout_s)
        except GetTimeoutError:
            raise NotDoneError from None
        except RayTaskError as error:
            # What the code itself raised, without Ray's wrapping.
            cause = error.cause
            raise cause if isinstance(cause, Exception) else error from None
        except WorkerCrashedError as error:
            raise WorkerLostError(first_line(error), is_strike=True) from None
        except OutOfMemoryError as error:
            # Ray's memory monitor chose this process; no sample is to blame.
            raise WorkerLostError(first_line(error), is_strike=False) from None
        except RayActorError as error:
            raise WorkerLostError(first_line(error), is_strike=not error.preempted) from None
        except RayError as error:  # a lost node or object, a cancel
            raise WorkerLostError(first_line(error), is_strike=False) from None

    def cancel(self, ref: Ref) -> None:
        """End a task; ``force=False`` does not reach C code."""
        with suppress(RayError, ValueError):
            ray.cancel(ref, force=True)


class RayActorCalls(RayCalls):
    """What an encode actor asks for; notes go to the driver's ledger."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def note(self, actor: str, unit: str, place: str) -> None:
        """Tell the ledger, and wait until it knows; that nothing runs need not be known."""
        noted = self._ledger.note.remote(actor, unit, place)
        if place:
            ray.get(noted)


@ray.remote(num_cpus=0, max_restarts=0)
class Ledger:
    """What each actor's encode thread runs now; it outlives the actor that dies on it."""

    def __init__(self) -> None:
        self._noted: dict[str, tuple[str, str]] = {}

    def note(self, actor: str, unit: str, place: str) -> None:
        """Remember that ``actor`` runs ``place`` of ``unit`` next; "" for nothing."""
        self._noted[actor] = (unit, place)

    def taken(self, actor: str) -> tuple[str, str]:
        """Return and forget the unit and place that ``actor`` ran last."""
        return self._noted.pop(actor, ("", ""))


class RayActor:
    """An encode actor of Ray."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def call(self, method: str, *arguments: Any, group: str = "") -> Ref:
        """Start a method in a concurrency group."""
        bound = getattr(self._handle, method)
        return (bound.options(concurrency_group=group) if group else bound).remote(*arguments)

    def kill(self) -> None:
        """End the actor's process."""
        with suppress(RayError):
            ray.kill(self._handle)


class RayWorkers(RayCalls):
    """The connected cluster, as a driver uses it."""

    waits_for_encoder = True

    def __init__(self, facts: ClusterFacts) -> None:
        self.facts = facts
        self._ledger = Ledger.remote()  # type: ignore[attr-defined]  # added by ray.remote

    def look_again(self) -> ClusterFacts:
        """Return what the cluster has now."""
        self.facts = cluster_facts(is_local=self.facts.is_local)
        return self.facts

    def wait(self, refs: Sequence[Ref], *, timeout_s: float | None = None) -> list[Ref]:
        """Return those of ``refs`` that are done, once one is or after ``timeout_s``."""
        done, _ = ray.wait(list(refs), num_returns=1, timeout=timeout_s)
        if done:
            done, _ = ray.wait(list(refs), num_returns=len(refs), timeout=0)
        return list(done)

    def start_encoder(self, setup: ActorSetup, name: str, *, needs_gpu: bool) -> RayActor:
        """Start an encode actor."""
        needs = {"num_gpus": 1, "num_cpus": 1} if needs_gpu else {"num_cpus": 0}
        calls: ActorCalls = RayActorCalls(self._ledger)
        return RayActor(_encode_actor().options(**needs).remote(setup, calls, name))

    def taken_note(self, actor: str) -> tuple[str, str]:
        """Return and forget what ``actor`` noted last."""
        noted: tuple[str, str] = ray.get(self._ledger.taken.remote(actor))
        return noted

    @contextmanager
    def scanning(self) -> Iterator[Calls]:
        """Yield the cluster itself."""
        yield self

    def close(self) -> None:
        """End the ledger."""
        with suppress(RayError):
            ray.kill(self._ledger)


@cache
def _encode_actor() -> Any:
    from latentcache.runner.encode.encode_actor import EncodeWorker  # noqa: PLC0415  loads torch

    # Restarts are the driver's business: it must know which units died with an actor.
    return ray.remote(
        max_restarts=0,
        max_task_retries=0,
        concurrency_groups={"units": MAX_UNIT_THREADS, "control": 2},
    )(EncodeWorker)  # type: ignore[call-overload]  # Ray's stubs know no concurrency groups
