"""The encode actors of a run: started, fed, replaced when they die."""

import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from latentcache.core.errors import RunError
from latentcache.core.seeds import new_write_id
from latentcache.runner.cluster import ClusterFacts, cluster_facts
from latentcache.runner.encode.encode_actor import (
    ActorProgress,
    ActorSetup,
    EncodeActor,
    EncoderDescription,
)
from latentcache.runner.encode.ledger import Ledger
from latentcache.runner.encode.unit_task import UnitOrder, UnitOutcome
from latentcache.runner.run_options import Resources
from latentcache.store import EncodingRecord

_MAX_START_DEATHS = 2
"""Actors that die while loading, in a row, before the run gives up."""

_LOOK_FOR_GPUS_S = 5.0
_FINAL_ANSWER_S = 1.0


@dataclass(slots=True, eq=False)
class PooledActor:
    """One actor with what it has in flight.

    Attributes:
        name: In the ledger.
        handle: Of the Ray actor.
        loading: Done once it has loaded its encoder, or failed to.
        beginning: Done once it has taken the encoding; None before it was told.
        in_flight: Orders by the reference of their outcome.
        last: Its newest answer; kept after it died, so that totals never shrink.
    """

    name: str
    handle: Any
    loading: "ray.ObjectRef[None]"
    beginning: "ray.ObjectRef[None] | None" = None
    is_ready: bool = False
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

        The others may have to wait for a device; they are used when they come.

        Raises:
            EncoderError: The encoder cannot be loaded; the sentence is the actor's.
            RunError: Its process died while loading.
        """
        self.actors = [self._new_actor() for _ in range(self.wanted())]
        deaths = 0
        while True:
            loading = [actor.loading for actor in self.actors]
            (first, *_), _ = ray.wait(loading, num_returns=1)
            try:
                ray.get(first)
                return
            except RayTaskError as error:
                raise cause_of(error) from None
            except RayError:
                deaths += 1
                if deaths >= _MAX_START_DEATHS:
                    raise RunError(
                        "an encode actor must load its encoder, but its process died "
                        f"{deaths} times while loading; it may need more memory than there is"
                    ) from None
                self.actors[loading.index(first)] = self._new_actor()

    def describe(self, buckets: dict[str, bool]) -> EncoderDescription:
        """Return what the loaded encoder is and which of ``buckets`` it refuses.

        Args:
            buckets: As text, and whether their clips are long.

        Raises:
            EncoderError: Its probe shows that it is not usable.
        """
        loading = [actor.loading for actor in self.actors]
        (first, *_), _ = ray.wait(loading, num_returns=1)
        handle = self.actors[loading.index(first)].handle
        try:
            description: EncoderDescription = ray.get(handle.describe.remote(buckets))
        except RayTaskError as error:
            raise cause_of(error) from None
        return description

    def use_threads(self, threads: int) -> None:
        """Start all actors anew with ``threads`` torch threads each."""
        for actor in self.actors:
            ray.kill(actor.handle)
        self._setup = replace(self._setup, threads=threads)
        self.start()

    def begin(self, record: EncodingRecord) -> None:
        """Give every actor the encoding to work on; see ``ready``."""
        if self._record is record:
            return
        self._record = record
        for actor in self.actors:
            actor.beginning = actor.handle.begin.remote(record)

    def ready(self) -> list[PooledActor]:
        """Return the actors that can be given units.

        One that died while it began counts: the unit it is given says so. One that waits
        for a device does not, however long.
        """
        waiting = {
            actor.beginning: actor
            for actor in self.actors
            if not actor.is_ready and actor.beginning is not None
        }
        if waiting:
            begun, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
            for ref in begun:
                waiting[ref].is_ready = True
        return [actor for actor in self.actors if actor.is_ready]

    def wait_until_ready(self, *, timeout_s: float) -> None:
        """Wait until an actor can be given units, or for ``timeout_s``."""
        begun = [actor.beginning for actor in self.actors if actor.beginning is not None]
        if begun and not self.ready():
            ray.wait(begun, num_returns=1, timeout=timeout_s)

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

    def replace_dead(
        self, dead: PooledActor, *, is_strike: bool = True, failed: tuple[UnitOrder, ...] = ()
    ) -> list[UnitOrder]:
        """Start another actor for ``dead``; return its orders, to be run again.

        Args:
            dead: Gone, or to be ended.
            is_strike: A sample may be to blame: the orders come back careful.
            failed: Orders that it has already given back, to be run again with the others.
        """
        orders = []
        unit, place = ray.get(self._ledger.taken.remote(dead.name))
        for order in (*failed, *dead.in_flight.values()):
            if not is_strike:
                orders.append(order)
                continue
            deaths = defaultdict(int, order.deaths)
            if place and str(order.unit.unit) == unit:
                deaths[place] += 1
            orders.append(replace(order, is_careful=True, deaths=dict(deaths)))
        dead.in_flight.clear()
        self.discard(dead)
        self._add()
        return orders

    def discard(self, actor: PooledActor) -> None:
        """Forget ``actor`` and end it; what it did stays counted."""
        if actor.last is not None:
            self._gone.append(replace(actor.last, under_way=0.0))
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
            except RayError:
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
        actor = self._new_actor()
        if self._record is not None:
            actor.beginning = actor.handle.begin.remote(self._record)
        self.actors.append(actor)

    def _new_actor(self) -> PooledActor:
        needs = {"num_gpus": 1, "num_cpus": 1} if self.uses_gpus else {"num_cpus": 0}
        name = new_write_id()
        handle = EncodeActor.options(**needs).remote(self._setup, self._ledger, name)
        return PooledActor(name=name, handle=handle, loading=handle.load.remote())


def cause_of(error: RayTaskError) -> Exception:
    """Return what the actor's own code raised, without Ray's wrapping."""
    cause = error.cause
    return cause if isinstance(cause, Exception) else error
