"""What the demo's page is drawn from."""

from dataclasses import dataclass

from latentcache.demo.page.compared_facts import ComparedFacts
from latentcache.demo.page.motion_facts import MotionFacts
from latentcache.demo.page.training_facts import LoaderRace, OrderTest, TrainingFacts
from latentcache.report import Projection, StorePage


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitDigests:
    """One unit in two stores; a digest is hex, or empty where a unit has no tar.

    Attributes:
        was_committed_before_kill: In the store whose run was killed.
    """

    unit: str
    bucket: str
    num_samples: int
    tar: tuple[str, str]
    meta: tuple[str, str]
    was_committed_before_kill: bool

    @property
    def is_equal(self) -> bool:
        """Whether both stores hold the same bytes."""
        return self.tar[0] == self.tar[1] and self.meta[0] == self.meta[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class KillTest:
    """What became of a build that was killed and run again, beside one that was not."""

    command: str
    num_committed_at_kill: int
    units: tuple[UnitDigests, ...]

    @property
    def num_equal(self) -> int:
        """Units with equal bytes."""
        return sum(unit.is_equal for unit in self.units)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the demo with the time it took."""

    what: str
    result: str
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPage:
    """All that the demo's page shows."""

    store: StorePage
    kill_test: KillTest
    training: TrainingFacts
    motion: MotionFacts
    compared: ComparedFacts
    race: LoaderRace
    order: OrderTest
    projection: Projection
    steps: tuple[Step, ...]
    mean_psnr_db: float
    min_psnr_db: float
    machine: str
