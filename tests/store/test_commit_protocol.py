"""Writers of one store, interleaved at every operation over servers that fail, lose nothing.

A run of the tests tries the same few cases each time. ``LAW_EXAMPLES=100`` draws a hundred times as
many anew; hypothesis shows the shortest that breaks a promise.
"""

import os
import random
from functools import lru_cache
from itertools import pairwise

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from latentcache.core import seeds
from latentcache.core.errors import LatentCacheError
from latentcache.core.fingerprint import sha256_hex
from latentcache.storage import CreateIfAbsentSupport, ahead, exclusive
from latentcache.store.garbage import GRACE_S
from latentcache.store.store import Store
from latentcache.store.verification import VerifyReport, verify_snapshot
from tests.law_examples import examples
from tests.store import drivers
from tests.store.faulty_store import FaultyFolder, Memory
from tests.store.named_objects import left_over, names_of_snapshot, snapshot_records
from tests.store.stopping import StoppedError
from tests.store.turns import InOrder, Writer, unlocked_properties

HOUR_S = 3600.0
EXCLUSIVE = CreateIfAbsentSupport.EXCLUSIVE
COLUMNS = st.sampled_from([("latents", "f"), ("latents", "f"), ("latents", "e"), ("dino", "d")])
MOST_WRITERS = 4


@pytest.fixture(autouse=True)
def _repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread a writer, and write ids that are drawn again the same."""
    monkeypatch.setattr(ahead, "ThreadPoolExecutor", InOrder)
    monkeypatch.setattr(exclusive, "ThreadPoolExecutor", InOrder)
    for held in unlocked_properties("latentcache.store"):
        monkeypatch.setattr(*held)


@lru_cache
def built_store() -> Memory:
    """What one undisturbed run leaves; never changed."""
    memory = Memory()
    drivers.build(FaultyFolder.of(memory), "latents", "f")
    return memory


def served_bytes(store: Store, column: str) -> dict[str, tuple[str, str]]:
    return {
        str(entry.unit.unit): (entry.tar.sha256 if entry.tar else "", entry.meta.sha256)
        for entry in store.snapshot().column(column).units()
    }


@lru_cache
def undisturbed_bytes(column: str, fingerprint: str) -> dict[str, tuple[str, str]]:
    folder = FaultyFolder.of(Memory())
    drivers.build(folder, column, fingerprint)
    drivers.grow(folder, column, fingerprint)
    drivers.compact(folder, column, fingerprint)
    return served_bytes(drivers.opened(folder), column)


class Writers(RuleBasedStateMachine):
    """Up to four writers and one set of servers."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()
        self.writers: list[tuple[Writer, FaultyFolder]] = []
        self.published: list[object] = []
        self.whole: set[str] = set()
        # Nothing of the machine may be drawn from the computer's own randomness.
        self._draw = random.Random(0)
        self.ends_well = False
        self._ids, seeds.secrets = seeds.secrets, self  # type: ignore[attr-defined, assignment]

    def token_hex(self, num_bytes: int) -> str:
        """Stand in for ``secrets``."""
        return self._draw.randbytes(num_bytes).hex()

    @initialize(
        condition=st.sampled_from([EXCLUSIVE, EXCLUSIVE, *CreateIfAbsentSupport]),
        is_built=st.booleans(),
        ends_well=st.booleans(),
        seed=st.integers(0, 2**16),
    )
    def open_servers(self, condition, is_built: bool, ends_well: bool, seed: int) -> None:
        self.ends_well = ends_well
        if is_built:
            self.memory = built_store().copy()
        self.memory.condition = condition
        self._draw.seed(seed)

    @precondition(lambda self: len(self.writers) < MOST_WRITERS)
    @rule(what=st.sampled_from(sorted(drivers.DRIVERS)), column=COLUMNS)
    def begin(self, what: str, column: tuple[str, str]) -> None:
        folders: list[FaultyFolder] = []

        def work(writer: Writer) -> object:
            return drivers.DRIVERS[what](folders[0], *column)

        writer = Writer(f"{what} {' '.join(column)}", work)
        folders.append(FaultyFolder.of(self.memory, writer))
        self.writers.append((writer, folders[0]))

    @precondition(lambda self: self.writers)
    @rule(
        which=st.integers(0, MOST_WRITERS - 1),
        moves=st.sampled_from([1, 2, 5, 10, 20, 50, 100, 200]),
        rate=st.sampled_from([0, 0, 0.1, 0.4]),
        seed=st.integers(0, 2**16),
    )
    def go(self, which: int, moves: int, rate: float, seed: int) -> None:
        writer, folder = self.writers[which % len(self.writers)]
        folder.faults.rate, folder.faults.draw = rate, random.Random(seed)
        for _ in range(moves):
            writer.move()
        folder.faults.rate = 0.0
        self._settle()

    @precondition(lambda self: self.writers)
    @rule(which=st.integers(0, MOST_WRITERS - 1))
    def finish(self, which: int) -> None:
        writer, _ = self.writers[which % len(self.writers)]
        while not writer.is_done:
            writer.move()
        self._settle()

    @precondition(lambda self: self.writers)
    @rule(which=st.integers(0, MOST_WRITERS - 1))
    def kill(self, which: int) -> None:
        self.writers[which % len(self.writers)][0].kill()
        self._settle()

    @rule(hours=st.sampled_from([0.1, 1, 13, 25, 60]))
    def pass_time(self, hours: float) -> None:
        self.memory.now_s += hours * HOUR_S

    @precondition(lambda self: self.memory.late)
    @rule(which=st.integers(0, 9))
    def land(self, which: int) -> None:
        late = self.memory.late
        late.pop(which % len(late))()

    def _settle(self) -> None:
        """Take leave of writers that are done, and look at how they ended."""
        for writer, _ in [each for each in self.writers if each[0].is_done]:
            error = writer.error
            if error is not None and not isinstance(error, StoppedError):
                assert isinstance(error, LatentCacheError | OSError), writer.name
                assert "\n" not in str(error)
            if isinstance(writer.result, VerifyReport):
                assert writer.result.ok, writer.result.damaged
            if hasattr(writer.result, "columns"):
                self.published.append(writer.result)
        self.writers = [each for each in self.writers if not each[0].is_done]

    @invariant()
    def the_store_is_sound(self) -> None:
        self.what_is_named_is_there()
        if self.memory.condition is EXCLUSIVE:
            assert not self.memory.replaced, "nothing that was written ever changes"
            self.what_was_published_stays()
            self.no_publisher_undoes_another()

    def what_is_named_is_there(self) -> None:
        objects = self.memory.objects
        for name, record in snapshot_records(self.memory).items():
            age_s = self.memory.now_s - objects[name].modified_s
            if name.endswith(".retired.json") and age_s > GRACE_S:
                continue
            for ref in names_of_snapshot(self.memory, record):
                assert ref.name in objects, f"{name} names {ref.name}"
                data = objects[ref.name].data
                assert (len(data), sha256_hex(data)) == (ref.size_bytes, ref.sha256), ref.name

    def what_was_published_stays(self) -> None:
        there = {record.digest for record in snapshot_records(self.memory).values()}
        newest = max((r.number for r in snapshot_records(self.memory).values()), default=0)
        for record in self.published:
            # Snapshots before the newest may have been retired.
            assert record.digest in there or record.number < newest

    def no_publisher_undoes_another(self) -> None:
        found = snapshot_records(self.memory)
        made_s = {
            record.digest: self.memory.objects[name].modified_s for name, record in found.items()
        }
        records = sorted(found.values(), key=lambda each: each.number)
        for before, after in pairwise(records):
            if made_s[before.digest] > made_s[after.digest]:
                continue  # a number that had been retired, taken by one who slept: nobody reads it
            assert set(before.columns) <= set(after.columns)
            if after.parent and after.parent.number == before.number:
                assert after.parent.digest == before.digest
                changed = [
                    name
                    for name, entry in before.columns.items()
                    if after.columns[name].fingerprint != entry.fingerprint
                ]
                assert len(changed) <= 1

    def teardown(self) -> None:
        try:
            while self.writers:
                for writer, _ in self.writers:
                    if self.ends_well:
                        writer.move()
                    else:
                        writer.kill()
                self._settle()
                self.the_store_is_sound()
            for land in self.memory.late:
                land()
            self._check_recovery()
        finally:
            seeds.secrets = self._ids

    def _check_recovery(self) -> None:
        """Go on without faults: all is there, equal to an undisturbed run's; gc finds the rest."""
        folder = FaultyFolder.of(self.memory)
        for column, fingerprint in (("latents", "f"), ("dino", "d")):
            drivers.build(folder, column, fingerprint)
            drivers.grow(folder, column, fingerprint)
        drivers.compact(folder, "latents", "f")
        store = drivers.opened(folder)
        for column, fingerprint in (("latents", "f"), ("dino", "d")):
            view = store.snapshot().column(column)
            assert view.num_missing == 0
            assert view.num_encoded + view.num_quarantined == drivers.NUM_PLANNED[1]
            keys = [key for key, *_ in view.iter_samples()]
            assert len(keys) == len(set(keys)) == view.num_encoded
            assert served_bytes(store, column) == undisturbed_bytes(column, fingerprint)
        assert verify_snapshot(store.snapshot()).ok
        for _ in range(2):
            self.memory.now_s += 2 * GRACE_S
            drivers.retire(folder, "", "")
        self.what_is_named_is_there()
        rest = left_over(self.memory)
        assert not rest, rest


def test_whatever_fails_nothing_is_lost() -> None:
    run_state_machine_as_test(
        Writers,
        settings=examples(12, stateful_step_count=30, derandomize="LAW_EXAMPLES" not in os.environ),
    )
