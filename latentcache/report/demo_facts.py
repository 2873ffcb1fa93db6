"""What the demo's page is drawn from."""

from dataclasses import dataclass

from latentcache.report.facts import KillTest, Projection, Step, StorePage
from latentcache.report.motion_facts import MotionFacts
from latentcache.report.training_facts import LoaderRace, OrderTest, TrainingFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPage:
    """All that the demo's page shows."""

    store: StorePage
    kill_test: KillTest
    training: TrainingFacts
    motion: MotionFacts
    race: LoaderRace
    order: OrderTest
    projection: Projection
    steps: tuple[Step, ...]
    mean_psnr_db: float
    min_psnr_db: float
    machine: str
