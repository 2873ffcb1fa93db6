"""The encode actors of a run: started, fed, replaced when they die."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from latentcache.core.errors import RunError
from latentcache.core.seeds import new_write_id
from latentcache.runner.messages.actor_setup import ActorProgress, ActorSetup, EncoderDescription
from latentcache.runner.messages.calls import Actor, NotDoneError, Ref, WorkerLostError, Workers
from latentcache.runner.messages.unit_orders import UnitOrder, UnitPass
from latentcache.runner.run_options import Resources
from latentcache.store import EncodingRecord

_MAX_START_DEATHS = 2
"""Actors that die while loading, in a row, before the run gives up."""

_LOOK_FOR_GPUS_S = 5.0
_FINAL_ANSWER_S = 1.0
_KEEP_S = 2.5
"""For actors to write what they have; ``ray job stop`` kills after 3 s."""


@dataclass(slots=True, eq=False)
class PooledActor:
    """One actor with what it has in flight.

    Attributes:
        name: In the ledger.
        handle: Of its process.
        loading: Done once it has loaded its encoder, or failed to.
        beginning: Done once it has taken the encoding; None before it was told.
        in_flight: Passes by the reference of their answers.
        last: Its newest answer; kept after it died, so that totals never shrink.
    """

    name: str
    handle: Actor
    loading: Ref
    beginning: Ref | None = None
    is_ready: bool = False
    in_flight: dict[Ref, UnitPass] = field(default_factory=dict)
    last: ActorProgress | None = None
    asked: Ref | None = None


class ActorPool:
    """Starts actors on what the cluster has, and keeps their books."""

    def __init__(self, setup: ActorSetup, resources: Resources, workers: Workers) -> None:
        """Start nothing yet; ``start`` does."""
        self._setup = setup
        self._resources = resources
        self.workers = workers
        self._records: tuple[EncodingRecord, ...] = ()
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
            return max(1, self.workers.facts.num_gpus)
        return max(1, self.workers.facts.num_cpus // self._setup.threads)

    def start(self) -> None:
        """Start all actors; ``wait_until_loaded`` waits for the first."""
        self.actors = [self._new_actor() for _ in range(self.wanted())]

    def wait_until_loaded(self) -> None:
        """Return once one actor has loaded the encoder.

        The others may have to wait for a device; they are used when they come.

        Raises:
            EncoderError: The encoder cannot be loaded; the sentence is the actor's.
            RunError: Its process died while loading.
        """
        deaths = 0
        while True:
            loading = [actor.loading for actor in self.actors]
            first, *_ = self.workers.wait(loading)
            try:
                self.workers.get(first)
                return
            except WorkerLostError:
                deaths += 1
                if deaths >= _MAX_START_DEATHS:
                    raise RunError(
                        "an encode actor must load its encoder, but its process died "
                        f"{deaths} times while loading; it may need more memory than there is"
                    ) from None
                self.actors[loading.index(first)] = self._new_actor()

    def describe(self, column: str, buckets: dict[str, bool]) -> EncoderDescription:
        """Return what a column's loaded encoder is and which of ``buckets`` it refuses.

        Args:
            column: Its name.
            buckets: As text, and whether their clips are long.

        Raises:
            EncoderError: Its probe shows that it is not usable.
        """
        call = self._loaded().call("describe", column, buckets)
        description: EncoderDescription = self.workers.get(call)
        return description

    def encode_texts(self, column: str, texts: tuple[str, ...]) -> list[bytes]:
        """Return the fields of some texts as tensor files, from an actor that has its encoding."""
        while not self.ready():
            self.wait_until_ready(timeout_s=1.0)
        handle = self.ready()[0].handle
        found: list[bytes] = self.workers.get(handle.call("encode_texts", column, texts))
        return found

    def codebook(self, column: str) -> np.ndarray[Any, Any] | None:
        """Return the vectors that a column's indices name, float32 [K, D]; None of others."""
        found: np.ndarray[Any, Any] | None = self.workers.get(
            self._loaded().call("codebook", column)
        )
        return found

    def _loaded(self) -> Actor:
        """Return the first actor that has loaded its encoders."""
        loading = [actor.loading for actor in self.actors]
        first, *_ = self.workers.wait(loading)
        return self.actors[loading.index(first)].handle

    def use_threads(self, threads: int) -> None:
        """Start all actors anew with ``threads`` torch threads each."""
        for actor in self.actors:
            actor.handle.kill()
        self._setup = replace(self._setup, threads=threads)
        self.start()
        self.wait_until_loaded()

    def begin(self, *records: EncodingRecord) -> None:
        """Give every actor the encodings to work on, if they are not begun; see ``ready``."""
        if all(record in self._records for record in records):
            return
        self._records = records
        for actor in self.actors:
            actor.beginning = actor.handle.call("begin", records)

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
            for ref in self.workers.wait(list(waiting), timeout_s=0):
                waiting[ref].is_ready = True
        return [actor for actor in self.actors if actor.is_ready]

    def wait_until_ready(self, *, timeout_s: float) -> None:
        """Wait until an actor can be given units, or for ``timeout_s``."""
        begun = [actor.beginning for actor in self.actors if actor.beginning is not None]
        if begun and not self.ready():
            self.workers.wait(begun, timeout_s=timeout_s)

    def grow(self) -> int:
        """Start actors on GPUs that have joined since; return how many."""
        if time.monotonic() - self._last_look_s < _LOOK_FOR_GPUS_S or self._resources.num_actors:
            return 0
        self._last_look_s = time.monotonic()
        self.workers.look_again()
        missing = self.wanted() - len(self.actors) if self.uses_gpus else 0
        for _ in range(missing):
            self._add()
        return max(0, missing)

    def submit(self, actor: PooledActor, orders: UnitPass) -> None:
        """Ask ``actor`` to run a pass."""
        ref = actor.handle.call("run_units", orders, group="units")
        actor.in_flight[ref] = orders

    def replace_dead(
        self, dead: PooledActor, *, is_strike: bool = True, failed: Sequence[UnitPass] = ()
    ) -> list[UnitPass]:
        """Start another actor for ``dead``; return its passes, to be run again.

        Args:
            dead: Gone, or to be ended.
            is_strike: A sample may be to blame: the orders come back careful.
            failed: Passes that it has already given back, to be run again with the others.
        """
        suspect = self.workers.taken_note(dead.name)
        passes = [*failed, *dead.in_flight.values()]
        if is_strike:
            passes = [tuple(_careful(order, *suspect) for order in each) for each in passes]
        dead.in_flight.clear()
        self.discard(dead)
        self._add()
        return passes

    def discard(self, actor: PooledActor) -> None:
        """Forget ``actor`` and end it; what it did stays counted."""
        if actor.last is not None:
            self._gone.append(replace(actor.last, under_way=0.0, rows_kept=0))
        self.actors.remove(actor)
        actor.handle.kill()

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
            actor.handle.kill()
        return len(hanging)

    def progress(self) -> list[ActorProgress]:
        """Return the newest answers without waiting for any."""
        for actor in self.actors:
            if actor.asked is None:
                actor.asked = actor.handle.call("progress", group="control")
            try:
                actor.last = self.workers.get(actor.asked, timeout_s=0)
                actor.asked = None
            except NotDoneError:
                pass
            except WorkerLostError:
                actor.asked = None
        return [*self._gone, *(actor.last for actor in self.actors if actor.last is not None)]

    def final_progress(self) -> list[ActorProgress]:
        """Return the answers after the last unit, waiting a moment for each."""
        self._wait_for_answers()
        self.progress()
        self._wait_for_answers()
        return self.progress()

    def _wait_for_answers(self) -> None:
        deadline_s = time.monotonic() + _FINAL_ANSWER_S
        for actor in self.actors:
            if actor.asked is not None:
                left_s = max(0.0, deadline_s - time.monotonic())
                self.workers.wait([actor.asked], timeout_s=left_s)

    def stop(self) -> None:
        """Abandon everything under way; what is encoded is kept first."""
        ending = [ref for actor in self.actors for ref in actor.in_flight]
        if ending:
            for actor in self.actors:
                actor.handle.call("cancel", group="control")
            deadline_s = time.monotonic() + _KEEP_S
            while ending and time.monotonic() < deadline_s:
                done = self.workers.wait(ending, timeout_s=deadline_s - time.monotonic())
                ending = [ref for ref in ending if ref not in done]
        for actor in self.actors:
            actor.handle.kill()
        self.actors = []

    def _add(self) -> None:
        actor = self._new_actor()
        if self._records:
            actor.beginning = actor.handle.call("begin", self._records)
        self.actors.append(actor)

    def _new_actor(self) -> PooledActor:
        name = new_write_id()
        handle = self.workers.start_encoder(self._setup, name, needs_gpu=self.uses_gpus)
        return PooledActor(name=name, handle=handle, loading=handle.call("load"))


def _careful(order: UnitOrder, suspect: str, place: str) -> UnitOrder:
    """Return an order that was in flight when its actor died.

    Args:
        order: As it was given.
        suspect: Name of the order whose batch was noted last.
        place: In it; "" for none.
    """
    deaths = defaultdict(int, order.deaths)
    if place and order.name == suspect:
        deaths[place] += 1
    return replace(order, is_careful=True, deaths=dict(deaths))
