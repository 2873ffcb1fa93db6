"""The encode actors of a run: started, fed, replaced when they die."""

import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from latentcache.core.errors import RunError
from latentcache.runner.cluster import ClusterFacts, cluster_facts
from latentcache.runner.encode_actor import (
    ActorProgress,
    ActorSetup,
    EncodeActor,
    EncoderDescription,
)
from latentcache.runner.ledger import Ledger
from latentcache.runner.options import Resources
from latentcache.runner.unit_run import UnitOrder, UnitOutcome
from latentcache.store import EncodingRecord

_MAX_START_DEATHS = 2
"""Actors that die while loading, in a row, before the run gives up."""

_LOOK_FOR_GPUS_S = 5.0
_FINAL_ANSWER_S = 1.0


@dataclass(slots=True, eq=False)
class PooledActor:
    """One actor with what it has in flight.

    Attributes:
        handle: Of the Ray actor.
        in_flight: Orders by the reference of their outcome.
        last: Its newest answer; kept after it died, so that totals never shrink.
    """

    handle: Any
    in_flight: "dict[ray.ObjectRef[UnitOutcome], UnitOrder]" = field(default_factory=dict)
    last: ActorProgress | None = None
    asked: "ray.ObjectRef[ActorProgress] | None" = None


class ActorPool:
    """Starts actors on what the cluster has, and keeps their books."""

    def __init__(self, setup: ActorSetup, resources: Resources, facts: ClusterFacts) -> None:
        """Start nothing yet; ``start`` does."""
        self._setup = setup
        self._resources = resources
        self._facts = facts
        self._ledger = Ledger.remote()  # type: ignore[attr-defined]  # added by ray.remote
        self._record: EncodingRecord | None = None
        self._gone: list[ActorProgress] = []
        self._last_look_s = time.monotonic()
        self.actors: list[PooledActor] = []

    @property
    def uses_gpus(self) -> bool:
        """Whether each actor holds a GPU."""
        return self._setup.device == "cuda"

    def wanted(self) -> int:
        """Return how many actors the cluster has room for."""
        if self._resources.num_actors:
            return self._resources.num_actors
        if self.uses_gpus:
            return max(1, self._facts.num_gpus)
        return max(1, self._facts.num_cpus // self._setup.threads)

    def start(self) -> None:
        """Start all actors and return once one has loaded the encoder.

        Raises:
            EncoderError: The encoder cannot be loaded; the sentence is the actor's.
            RunError: Its process died while loading.
        """
        self.actors = [PooledActor(self._new_handle()) for _ in range(self.wanted())]
        self.describe([])

    def describe(self, buckets: list[str]) -> EncoderDescription:
        """Return what the loaded encoder is and which of ``buckets`` it refuses.

        Raises:
            EncoderError: The encoder cannot be loaded; the sentence is the actor's.
            RunError: Its process died while loading.
        """
        deaths = 0
        while True:
            try:
                handle = self.actors[0].handle
                description: EncoderDescription = ray.get(handle.describe.remote(buckets))
                return description
            except RayTaskError as error:
                raise cause_of(error) from None
            except RayActorError:
                deaths += 1
                if deaths >= _MAX_START_DEATHS:
                    raise RunError(
                        "an encode actor must load its encoder, but its process died "
                        f"{deaths} times while loading; it may need more memory than there is"
                    ) from None
                self.actors[0] = PooledActor(self._new_handle())

    def use_threads(self, threads: int) -> None:
        """Start all actors anew with ``threads`` torch threads each."""
        for actor in self.actors:
            ray.kill(actor.handle)
        self._setup = replace(self._setup, threads=threads)
        self.start()

    def begin(self, record: EncodingRecord) -> None:
        """Give every actor the encoding to work on, and wait until they have loaded it.

        An actor that cannot says so when it is given a unit.
        """
        self._record = record
        begun = [actor.handle.begin.remote(record) for actor in self.actors]
        ray.wait(begun, num_returns=len(begun))

    def grow(self) -> int:
        """Start actors on GPUs that have joined since; return how many."""
        if time.monotonic() - self._last_look_s < _LOOK_FOR_GPUS_S or self._resources.num_actors:
            return 0
        self._last_look_s = time.monotonic()
        self._facts = cluster_facts(is_local=self._facts.is_local)
        missing = self.wanted() - len(self.actors) if self.uses_gpus else 0
        for _ in range(missing):
            self._add()
        return max(0, missing)

    def submit(self, actor: PooledActor, order: UnitOrder) -> None:
        """Ask ``actor`` to run ``order``."""
        ref = actor.handle.run_unit.options(concurrency_group="units").remote(order)
        actor.in_flight[ref] = order

    def replace_dead(self, dead: PooledActor) -> list[UnitOrder]:
        """Start another actor for ``dead``; return its orders, now careful, to be run again."""
        orders = []
        for order in dead.in_flight.values():
            place = ray.get(self._ledger.taken.remote(str(order.unit.unit)))
            deaths = defaultdict(int, order.deaths)
            if place is not None:
                deaths[place] += 1
            orders.append(replace(order, is_careful=True, deaths=dict(deaths)))
        dead.in_flight.clear()
        self.discard(dead)
        self._add()
        return orders

    def discard(self, actor: PooledActor) -> None:
        """Forget ``actor`` and end it; what it did stays counted."""
        if actor.last is not None:
            self._gone.append(actor.last)
        self.actors.remove(actor)
        ray.kill(actor.handle)

    def end_hanging(self) -> int:
        """Kill actors whose batch takes too long; return how many."""
        limit_s = self._resources.batch_time_limit_s
        hanging = [
            actor
            for actor in self.actors
            if actor.last is not None and actor.last.batch_age_s > limit_s
        ]
        for actor in hanging:
            actor.last = replace(actor.last, batch_age_s=0.0) if actor.last else None
            ray.kill(actor.handle)
        return len(hanging)

    def progress(self) -> list[ActorProgress]:
        """Return the newest answers without waiting for any."""
        for actor in self.actors:
            if actor.asked is None:
                call = actor.handle.progress.options(concurrency_group="control")
                actor.asked = call.remote()
            try:
                actor.last = ray.get(actor.asked, timeout=0)
                actor.asked = None
            except GetTimeoutError:
                pass
            except RayActorError:
                actor.asked = None
        return [*self._gone, *(actor.last for actor in self.actors if actor.last is not None)]

    def final_progress(self) -> list[ActorProgress]:
        """Return the answers after the last unit, waiting a moment for each."""
        asked = [actor.asked for actor in self.actors if actor.asked is not None]
        if asked:
            ray.wait(asked, num_returns=len(asked), timeout=_FINAL_ANSWER_S)
        self.progress()
        asked = [actor.asked for actor in self.actors if actor.asked is not None]
        if asked:
            ray.wait(asked, num_returns=len(asked), timeout=_FINAL_ANSWER_S)
        return self.progress()

    def stop(self) -> None:
        """Abandon everything under way."""
        for actor in self.actors:
            actor.handle.cancel.options(concurrency_group="control").remote()
        for actor in self.actors:
            ray.kill(actor.handle)
        self.actors = []
        ray.kill(self._ledger)

    def _add(self) -> None:
        actor = PooledActor(self._new_handle())
        if self._record is not None:
            actor.handle.begin.remote(self._record)
        self.actors.append(actor)

    def _new_handle(self) -> Any:
        needs = {"num_gpus": 1, "num_cpus": 1} if self.uses_gpus else {"num_cpus": 0}
        return EncodeActor.options(**needs).remote(self._setup, self._ledger)


def cause_of(error: RayTaskError) -> Exception:
    """Return what the actor's own code raised, without Ray's wrapping."""
    cause = error.cause
    return cause if isinstance(cause, Exception) else error
