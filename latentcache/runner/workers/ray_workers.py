"""Calls and actors of Ray; ``max_retries=0`` everywhere, because only our code retries."""

import re
import time
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
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from latentcache.core.errors import RunError, first_line
from latentcache.runner.messages.actor_setup import MAX_UNIT_THREADS, ActorSetup
from latentcache.runner.messages.calls import (
    ActorCalls,
    Calls,
    ClusterFacts,
    NotDoneError,
    WorkerLostError,
)
from latentcache.runner.workers.cluster import cluster_facts
from latentcache.runner.workers.ray_health import RayHealth, RayLostError, is_node_loss
from latentcache.storage import process_text, take_over

Ref = Any

_LOOK_S = 1.0
"""How long a wait goes on without a look whether Ray is still there."""

_IMPORT_ERRORS = ("ModuleNotFoundError: ", "ImportError: ")
_NODE = re.compile(r"\bip=([^,)\s]+)")


def _check_imports(error: RayError) -> None:
    """Raise if a process of some node could not import what it was to run.

    Raises:
        RunError: It could not; trying again there is of no use, and no sample is to blame.
    """
    text = str(error).strip()
    *_, raised = text.splitlines() or [""]  # what came of it in the end, not what that came from
    if not raised.startswith(_IMPORT_ERRORS):
        return
    node = _NODE.search(text)
    where = f" on node {node[1]}" if node else ""
    raise RunError(
        f"every node must have the packages of this one, got {raised}{where}; install there what "
        "is installed here, or start all nodes from one image"
    ) from None


@cache
def _task(function: Callable[[Any], Any]) -> Any:
    def run(argument: Any, storage_options: str) -> Any:
        # Another node has not the environment of the driver; Ray's runtime_env can be read by all.
        take_over(storage_options)
        return function(argument)

    run.__name__, run.__qualname__ = function.__name__, function.__qualname__  # Ray shows them
    # Ray's own retry would run a task again unseen by the actor that counts its strikes.
    return ray.remote(num_cpus=1, max_retries=0, max_calls=0)(run)


class RayCalls:
    """Calls from whichever process of the cluster asks."""

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Ref:
        """Start a task."""
        return _task(function).remote(argument, process_text())

    def get(self, ref: Ref, *, timeout_s: float | None = None) -> Any:
        """Return a task's or a method's answer; see ``Calls.get``."""
        try:
            return ray.get(ref, timeout=timeout_s)
        except GetTimeoutError:
            raise NotDoneError from None
        except RayTaskError as error:
            _check_imports(error)
            # What the code itself raised, without Ray's wrapping.
            cause = error.cause
            raise cause if isinstance(cause, Exception) else error from None
        except WorkerCrashedError as error:
            raise WorkerLostError(first_line(error), is_strike=True) from None
        except OutOfMemoryError as error:
            # Ray's memory monitor chose this process; no sample is to blame.
            raise WorkerLostError(first_line(error), is_strike=False) from None
        except RayActorError as error:
            _check_imports(error)
            is_strike = not error.preempted and not is_node_loss(error)
            raise WorkerLostError(first_line(error), is_strike=is_strike) from None
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


# A note is the same if it is made twice; what a lost ledger knew costs one death more.
@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
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

    def __init__(self, facts: ClusterFacts, health: RayHealth) -> None:
        self.facts, self._health = facts, health
        # Beside the driver: another node may be lost, and the run goes on.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        ledger: Any = Ledger
        self._ledger = ledger.options(scheduling_strategy=here).remote()

    def get(self, ref: Ref, *, timeout_s: float | None = None) -> Any:
        """Return an answer; see ``Calls.get``.

        Raises:
            RayLostError: There is no Ray any more that could give it.
        """
        while True:
            try:
                return super().get(ref, timeout_s=_LOOK_S if timeout_s is None else timeout_s)
            except NotDoneError:
                if timeout_s is not None:
                    raise
                self._health.check()
            except WorkerLostError:
                self._health.check(is_suspect=True)
                raise

    def look_again(self) -> ClusterFacts:
        """Return what the cluster has now."""
        self.facts = cluster_facts(is_local=self.facts.is_local)
        return self.facts

    def wait(self, refs: Sequence[Ref], *, timeout_s: float | None = None) -> list[Ref]:
        """Return those of ``refs`` that are done, once one is or after ``timeout_s``.

        Raises:
            RayLostError: There is no Ray any more.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = _LOOK_S if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            done, _ = ray.wait(list(refs), num_returns=1, timeout=min(left_s, _LOOK_S))
            if done:
                done, _ = ray.wait(list(refs), num_returns=len(refs), timeout=0)
                return list(done)
            self._health.check()
            if deadline_s is not None and time.monotonic() >= deadline_s:
                return []

    def start_encoder(self, setup: ActorSetup, name: str, *, needs_gpu: bool) -> RayActor:
        """Start an encode actor."""
        needs = {"num_gpus": 1, "num_cpus": 1} if needs_gpu else {"num_cpus": 0}
        calls: ActorCalls = RayActorCalls(self._ledger)
        return RayActor(_encode_actor().options(**needs).remote(setup, calls, name))

    def taken_note(self, actor: str) -> tuple[str, str]:
        """Return and forget what ``actor`` noted last."""
        noted: tuple[str, str] = self.get(self._ledger.taken.remote(actor))
        return noted

    @contextmanager
    def scanning(self) -> Iterator[Calls]:
        """Yield the cluster itself."""
        yield self

    def close(self) -> None:
        """End the ledger."""
        with suppress(RayError):
            ray.kill(self._ledger)


@contextmanager
def ray_workers(facts: ClusterFacts) -> Iterator[RayWorkers]:
    """Yield the connected cluster; what its loss makes of any call is told in one sentence.

    Raises:
        RayLostError: It is gone.
        RunError: It is there, and still did not do what it was asked.
    """
    health = RayHealth(is_local=facts.is_local)
    try:
        workers = RayWorkers(facts, health)
        try:
            yield workers
        finally:
            workers.close()
    except RayLostError:
        raise
    except Exception as error:
        health.check(is_suspect=True)
        if not isinstance(error, RayError):
            raise
        raise RunError(
            f"Ray must do what it is asked, got {type(error).__name__}: {first_line(error)}; look "
            "at Ray's logs, and run the same command again"
        ) from error


@cache
def _encode_actor() -> Any:
    from latentcache.runner.actor.encode_actor import EncodeWorker  # noqa: PLC0415  loads torch

    # Restarts are the driver's business: it must know which units died with an actor.
    return ray.remote(
        max_restarts=0,
        max_task_retries=0,
        concurrency_groups={"units": MAX_UNIT_THREADS, "control": 2},
    )(EncodeWorker)  # type: ignore[call-overload]  # Ray's stubs know no concurrency groups
